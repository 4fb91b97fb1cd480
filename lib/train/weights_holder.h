// Purpose: where a run's weights and the optimizer's state lie, wherever its devices want them. Every mode has one of
//   its own.
// Thread safety: parameters() from every replica's thread; the rest by one thread while no replica is at work.
#pragma once

namespace dptrain {

class WeightsHolder {
 public:
  virtual ~WeightsHolder() = default;

  /// The flat parameters that replica `rank` reads: in the memory of its device where steps are taken together,
  /// otherwise in the host's, see Replica::bind_host().
  virtual const float* parameters(int rank) const = 0;
  /// Their moving average, likewise; null where none is kept.
  virtual const float* average(int) const { return nullptr; }
  /// The flat parameters from and to the host's memory; they wait for the devices.
  virtual void load(const float* parameters) = 0;
  virtual void save(float* parameters) const = 0;
  /// Buffer k of the optimizer's state, likewise; where a moving average of the parameters is kept, it comes after the
  /// others.
  virtual void load_state(int k, const float* state) = 0;
  virtual void save_state(int k, float* state) const = 0;

  /// Whether each process has a part of the optimizer's state: then the first one alone can save it, as it was gathered
  /// last, and what another saves is its own part among zeros.
  virtual bool is_spread() const { return false; }
  /// Where it is, brings it to the first process. All processes together, by one thread of each between two steps.
  /// Errors: GroupAborted.
  virtual void gather_state() {}
};

}  // namespace dptrain
