// Purpose: how each kind of layer is written in a spec, for the reader of lists of layers.
// Thread safety: constants, and one reader at a time.
#pragma once

#include "spec/binder.h"
#include "spec/model_spec.h"

namespace dptrain {

struct LayerKind {
  std::string_view name;
  Names aliases;
  std::string_view main;  ///< what `name: VALUE` sets; empty: there is no such short form
  decltype(LayerSpec::op) (*read)(MapReader&);
};

/// Complains where there is no such layer.
const LayerKind* find_layer_kind(const Value& at, const std::string& name);

/// The readable layers of a list, repeats written out; complains about the others. Containers read theirs by it.
std::vector<LayerSpec> read_layers(const Value& list);

}  // namespace dptrain
