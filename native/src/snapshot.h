// Snapshots of streams as files that every format of a model reads: docs/reference/snapshot.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "network.h"

namespace movinet {

// Where a snapshot goes, piece by piece.
struct SnapshotSink {
  virtual ~SnapshotSink() = default;
  virtual void write(const void* data, size_t bytes) = 0;
};

// Where one comes from, of anybody; errors call it `name`.
struct SnapshotSource {
  SnapshotSource(std::string name, uint64_t size) : name(std::move(name)), size(size) {}
  virtual ~SnapshotSource() = default;
  virtual void read(uint64_t at, void* to, size_t bytes) = 0;  // within `size`

  std::string name;
  uint64_t size;
};

void write_snapshot(const Network& network, const std::byte* state, SnapshotSink& sink);

// Throws Error and leaves the state as it is if the snapshot is damaged, or of another model.
void read_snapshot(const Network& network, std::byte* state, SnapshotSource& source);

}  // namespace movinet
