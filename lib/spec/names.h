// Purpose: the names that enumerations have in specs, for the reader and the writer, and those that are still to come.
// Thread safety: constants.
#pragma once

#include "spec/values.h"

namespace dptrain::names {

inline const Choices<DatasetFormat> dataset_format{"dataset format",
                                                   {{"idx", DatasetFormat::idx},
                                                    {"generated", DatasetFormat::generated},
                                                    {"cifar", DatasetFormat::cifar},
                                                    {"image_folder", DatasetFormat::image_folder},
                                                    {"image_tar", DatasetFormat::image_tar}},
                                                   {"csv", "libsvm", "tokens", "npy"}};

inline const Choices<OnBadSample> on_bad_sample{
    "policy", {{"stop", OnBadSample::stop}, {"skip", OnBadSample::skip}}, {}};

inline const Choices<Initialiser> initialiser{"initialiser",
                                              {{"default", Initialiser::pytorch_default},
                                               {"kaiming_uniform", Initialiser::kaiming_uniform},
                                               {"kaiming_normal", Initialiser::kaiming_normal},
                                               {"xavier_uniform", Initialiser::xavier_uniform},
                                               {"xavier_normal", Initialiser::xavier_normal},
                                               {"zeros", Initialiser::zeros},
                                               {"whiten", Initialiser::whiten}},
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
    "precision",
    {{"fp32", Precision::fp32}, {"tf32", Precision::tf32}, {"bf16", Precision::bf16}, {"fp16", Precision::fp16}},
    {"fp64", "fp8", "int8"}};

inline const Choices<Communication> communication{
    "type", {{"fp32", Communication::fp32}, {"bf16", Communication::bf16}}, {"fp16", "fp8"}};

inline const Choices<DecayOn> decay_on{"choice", {{"all", DecayOn::all}, {"weights", DecayOn::weights}}, {}};

inline const Choices<MuonScale> muon_scale{
    "way to scale",
    {{"original", MuonScale::original}, {"match_rms_adamw", MuonScale::match_rms_adamw}},
    {"spectral_unclamped"}};

inline const Choices<LrScalingRule> lr_scaling{
    "way to scale", {{"linear", LrScalingRule::linear}, {"sqrt", LrScalingRule::sqrt}}, {}};

inline const Choices<ScheduleUnit> schedule_unit{
    "unit", {{"step", ScheduleUnit::step}, {"epoch", ScheduleUnit::epoch}}, {}};

inline const Choices<DeviceType> device_type{
    "device type", {{"cpu", DeviceType::cpu}, {"cuda", DeviceType::cuda}}, {"rocm", "mps", "xpu", "tpu"}};

inline const Choices<Mode> mode{
    "mode", {{"sync", Mode::sync}, {"async", Mode::async}, {"local_sgd", Mode::local_sgd}}, {}};

inline const Choices<WorkerState> worker_state{
    "worker state",
    {{"average", WorkerState::average}, {"keep", WorkerState::keep}, {"reset", WorkerState::reset}},
    {}};

inline const Choices<OnStale> on_stale{
    "way with stale gradients", {{"wait", OnStale::wait}, {"drop", OnStale::drop}, {"scale", OnStale::scale}}, {}};

inline const Choices<StoreUpdates> store_updates{
    "kind of updates", {{"locked", StoreUpdates::locked}, {"hogwild", StoreUpdates::hogwild}}, {}};

/// What an asynchronous run can fall back to.
inline const Choices<Mode> fallback{"mode to fall back to", {{"sync", Mode::sync}}, {}};

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
