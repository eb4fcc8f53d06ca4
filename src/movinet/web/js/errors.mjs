/** A file, a frame, a snapshot or a rule that does not fit; its message is one line. */
export class ModelError extends Error {}
