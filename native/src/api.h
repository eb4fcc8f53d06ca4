// What the C functions of movinet.h are made of.
#pragma once

#include <new>
#include <string>

#include "error.h"
#include "movinet.h"
#include "network.h"

struct movinet_model {
  movinet::Network network;
};

struct movinet_stream {
  const movinet::Network& network;
  movinet::Bytes state;
};

namespace movinet {

extern MOVINET_OF_A_THREAD std::string last_error;

// Runs `body`, and says as a code what it threw.
template <class F>
int guarded(F&& body) {
  try {
    body();
    return MOVINET_OK;
  } catch (const Error& error) {
    last_error = error.what();
    return error.kind == Error::Kind::file ? MOVINET_FILE : MOVINET_USAGE;
  } catch (const std::bad_alloc&) {
    last_error = "out of memory";
    return MOVINET_MEMORY;
  } catch (const std::exception& error) {
    last_error = error.what();
    return MOVINET_USAGE;
  }
}

}  // namespace movinet
