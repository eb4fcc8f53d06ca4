// MoViNets in JavaScript: load a model, open a stream, step it frame by frame.

export { bestKernels } from "./engine.mjs";
export { ModelError } from "./errors.mjs";
export { DEFAULT_RULE, Detector } from "./events.mjs";
export { Model, Stream, probabilities, readManifest, top } from "./model.mjs";
export { cropPixels } from "./pixels.mjs";
export { readSnapshot } from "./snapshot.mjs";
