// Purpose: the names that enumerations have in specs, for the reader and the writer, and those that are still to come.
// Thread safety: constants.
#pragma once

#include "spec/values.h"

namespace dptrain::names {

inline const Choices<DatasetFormat> dataset_format{
    "dataset format",
    {{"idx", DatasetFormat::idx}, {"generated", DatasetFormat::generated}},
    {"cifar", "csv", "libsvm", "image_folder", "tokens", "npy"}};

inline const Choices<Initialiser> initialiser{"initialiser",
                                              {{"default", Initialiser::pytorch_default},
                                               {"kaiming_uniform", Initialiser::kaiming_uniform},
                                               {"kaiming_normal", Initialiser::kaiming_normal},
                                               {"xavier_uniform", Initialiser::xavier_uniform},
                                               {"xavier_normal", Initialiser::xavier_normal},
                                               {"zeros", Initialiser::zeros}},
                                              {"orthogonal", "trunc_normal", "normal", "uniform", "ones", "constant"}};

inline const Choices<ActivationKind> activation{"activation",
                                                {{"relu", ActivationKind::relu},
                                                 {"leaky_relu", ActivationKind::leaky_relu},
                                                 {"gelu", ActivationKind::gelu},
                                                 {"sigmoid", ActivationKind::sigmoid},
                                                 {"tanh", ActivationKind::tanh},
                                                 {"silu", ActivationKind::silu}},
                                                {}};

inline const Choices<NormKind> norm{
    "norm", {{"batch_norm", NormKind::batch}, {"group_norm", NormKind::group}, {"layer_norm", NormKind::layer}}, {}};

/// A shortcut of layers has no name: it is their list.
inline const Choices<Shortcut> shortcut{
    "shortcut", {{"identity", Shortcut::identity}, {"pad", Shortcut::pad}, {"projection", Shortcut::projection}}, {}};

inline const Choices<LossKind> loss{
    "loss",
    {{"cross_entropy", LossKind::cross_entropy}, {"mse", LossKind::mse}},
    {"l1", "smooth_l1", "huber", "bce", "bce_with_logits", "nll", "nll_loss", "kl_div"}};

inline const Choices<Precision> precision{
    "precision", {{"fp32", Precision::fp32}, {"tf32", Precision::tf32}}, {"bf16", "fp16", "fp64", "fp8", "int8"}};

inline const Choices<ScheduleUnit> schedule_unit{
    "unit", {{"step", ScheduleUnit::step}, {"epoch", ScheduleUnit::epoch}}, {}};

inline const Choices<DeviceType> device_type{
    "device type", {{"cpu", DeviceType::cpu}, {"cuda", DeviceType::cuda}}, {"rocm", "mps", "xpu", "tpu"}};

inline const Choices<Mode> mode{"mode", {{"sync", Mode::sync}}, {"async", "local_sgd", "hogwild"}};

inline const Choices<OnNan> on_nan{
    "policy", {{"stop", OnNan::stop}, {"skip", OnNan::skip}, {"rollback", OnNan::rollback}}, {}};

inline const Choices<OnReplicaFailure> on_replica_failure{
    "policy", {{"stop", OnReplicaFailure::stop}, {"continue", OnReplicaFailure::continue_}}, {}};

inline const Choices<Balance> balance{"way to balance", {{"off", Balance::off}, {"auto", Balance::automatic}}, {}};

inline const Choices<DrillKind> drill{
    "drill",
    {{"throw", DrillKind::throw_}, {"stall", DrillKind::stall}, {"slow", DrillKind::slow}, {"nan", DrillKind::nan}},
    {}};

}  // namespace dptrain::names
