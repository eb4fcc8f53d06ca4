/** A frame: rows of RGB or RGBA pixels, such as an `ImageData`. */
export interface Image {
  width: number;
  height: number;
  data: Uint8Array | Uint8ClampedArray;
}

/** What a model wants of its input. */
export interface InputSpec {
  /** Side of the square that the network sees, pixels. */
  image_size: number;
  /** Length of a frame's shorter side before the square is cut out, pixels. */
  short_side: number;
  /** Frames per second. */
  frame_rate: number;
  /** Frames of a clip that the model was trained on. */
  num_frames: number;
}

/** What travels with a model. */
export interface Manifest {
  movinet: number;
  kind: "step";
  name: string;
  input: InputSpec;
  labels: string[];
  origin?: string;
  notes?: string[];
  multi_label?: boolean;
  weights_sha256?: string;
  [field: string]: unknown;
}

/** A file, a frame or a snapshot that does not fit; its message is one line. */
export class ModelError extends Error {}

export type Kernels = "simd128" | "relaxed";

export interface LoadOptions {
  /** Kernels of the engine; by default the best that run here. */
  kernels?: Kernels;
  /** For .onnx files: the module `onnxruntime-web` or `onnxruntime-node`. */
  runtime?: object;
  /** For .onnx files: options of the session. */
  session?: object;
}

/** A loaded model; any number of streams share it. */
export class Model {
  private constructor();
  /**
   * Load a .mvn file, which the engine of this package runs, or an .onnx file.
   *
   * @throws {ModelError} If it is something else, damaged, or no stream model.
   */
  static load(
    source: Uint8Array | ArrayBuffer | Blob | Response | string | URL,
    options?: LoadOptions,
  ): Promise<Model>;
  readonly manifest: Manifest;
  readonly labels: string[];
  /** Frames per second that a stream should be given. */
  readonly frameRate: number;
  /** What computes: "simd128", "relaxed" or "onnxruntime". */
  readonly kernels: string;
  /**
   * A new stream.
   *
   * @param halfLife Seconds after which a frame counts half, for streams without an end.
   */
  stream(halfLife?: number): Stream;
}

/** One video seen frame by frame. Wait for each step before the next. */
export class Stream {
  private constructor();
  readonly model: Model;
  /** Frames seen. */
  readonly frameCount: number;
  readonly halfLife: number | undefined;
  /**
   * See the next frame.
   *
   * @param options.missed Frames that should have come before it and did not.
   * @returns Probabilities of everything seen since the start, in the order of the labels.
   */
  step(image: Image, options?: { missed?: number }): Promise<Float32Array>;
  /** The embedding of everything seen. */
  embedding(): Float32Array;
  /** From the next frame on; undefined for none. */
  setHalfLife(halfLife: number | undefined): void;
  /** Forget every frame. */
  reset(): void;
  /** The state as a file that every export of the same weights continues from. */
  snapshot(): Uint8Array;
  /** Continue from a snapshot file; one that does not fit is refused and changes nothing. */
  restore(file: Uint8Array): void;
  /** Give the memory of the state back. */
  close(): void;
}

/** The manifest of a .mvn or .onnx file. */
export function readManifest(file: Uint8Array): Manifest;
/** Probabilities of logits. */
export function probabilities(logits: Float32Array, manifest: Manifest): Float32Array;
/** The most probable classes, the most probable first. */
export function top(
  values: ArrayLike<number>,
  labels: string[],
  count?: number,
): [label: string, probability: number][];
/** A frame as the network sees it: RGB, image_size x image_size. */
export function cropPixels(image: Image, input: InputSpec): Uint8Array;
/** The parts of a snapshot file. */
export function readSnapshot(file: Uint8Array): {
  model: string;
  weights: string;
  frameCount: number;
  tensors: Map<string, { shape: number[]; data: Float32Array }>;
};
/** The kernels that `Model.load` chooses here. */
export function bestKernels(): Kernels;

/** When an event of a class begins and ends: see docs/live.md. */
export interface Rule {
  on: number;
  off: number;
  smoothing: number;
  shortest: number;
  merge: number;
  dead: number;
  break_after: number;
  update: number;
}
export const DEFAULT_RULE: Readonly<Rule>;
export interface Event {
  id: string;
  label: string;
  start: number;
  end: number;
  peak: number;
  peak_time: number;
  mean: number;
}
export interface EventChange {
  kind: "new" | "update" | "end";
  event: Event;
}
/** Finds events in one stream of probabilities, as `movinet.events` does in Python. */
export class Detector {
  constructor(
    labels: string[],
    rules?: {
      default?: Partial<Rule> | null;
      classes?: Record<string, Partial<Rule>>;
      exclusive?: boolean;
    },
  );
  update(time: number, probabilities: ArrayLike<number>): EventChange[];
  finish(time?: number): EventChange[];
  state(): object;
  restore(state: object): void;
}
