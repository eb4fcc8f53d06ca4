// Snapshots of streams as files that every format of a model reads: docs/reference/snapshot.md.
#pragma once

#include <cstddef>
#include <string>

#include "network.h"

namespace movinet {

// Writes a file, which appears whole or not at all.
void save_snapshot(const Network& network, const std::byte* state, const std::string& path);

// Reads one, of anybody; throws Error and leaves the state as it is if it is damaged, or of another
// model.
void load_snapshot(const Network& network, std::byte* state, const std::string& path);

}  // namespace movinet
