/**
 * Runs a region of code with its TensorFlow operations recorded instead of carried out. When the
 * region ends, or something in it reads an entry of a tensor, all recorded tensors that are still
 * in use are computed together. One compiled function does so if the same operations were recorded
 * often enough before, whatever the shapes of their tensors.
 *
 * The code of the region runs each time, and each of its operations is compared with the recorded
 * one, so a function is used only for exactly the operations that it was made of. Tensors from
 * outside are arguments of the function. But small ones made in JavaScript are constants of it as
 * long as their entries stay the same, which is checked each time.
 */
import { type DataId, getBackend, type Tensor, type TensorInfo } from '@tensorflow/tfjs-core';
import { processWide } from '../../base/process-wide.ts';
import { tensorflowBackend } from '../operation.ts';
import { BFLOAT16, castAttributes, Copies, FLOAT, type Precision } from './copies.ts';
import { type Binding, execute, isReplaced, Program } from './program.ts';
import { type AttributeValue, outputsOf, size } from './rules.ts';
import { Point, type TensorData, Trace } from './trace.ts';

/** What the recorder uses and replaces of tfjs-node's backend. */
interface Internals {
  readonly binding: Binding;
  readonly tensorMap: {
    has(dataId: DataId): boolean;
    get(dataId: DataId): TensorData;
    delete(dataId: DataId): boolean;
  };
  readonly isUsingGpuDevice: boolean;
  createOutputTensor(metadata: {
    readonly id: number;
    readonly shape: readonly number[];
    readonly dtype: number;
  }): Tensor;
  executeSingleOutput(
    name: string,
    attrs: readonly AttributeValue[],
    inputs: readonly TensorInfo[],
  ): Tensor;
  executeMultipleOutputs(
    name: string,
    attrs: readonly AttributeValue[],
    inputs: readonly TensorInfo[],
    outputs: number,
  ): Tensor[];
  getInputTensorIds(tensors: readonly TensorInfo[]): number[];
  readSync(dataId: DataId): unknown;
  disposeData(dataId: DataId, force?: boolean): boolean;
  write(values: unknown, shape: number[], dtype: string): DataId;
}

/**
 * The most bytes of disposed tensors that are freed only once the trace that reads them has been
 * computed. If there are more, the trace is computed at once.
 */
const WAITING = 1 << 24;
/** The most operations of a trace; a longer one is computed in parts. */
const LENGTH = 1 << 13;
/**
 * The most recorded operations that are kept, and the most operations in compiled functions (about
 * 20 kB each). If either limit is passed, all recorded operations and all functions are forgotten.
 */
const POINTS = 1 << 16,
  COMPILED = 1 << 13;
/** The default of `prepareCompiling`. */
const SIGHTINGS = 2;

/**
 * TensorFlow's products, whose attribute T is the type of their factors. In a region of bfloat16
 * they take factors in bfloat16, add in float32 and round the result to bfloat16, as the products
 * of torch.autocast with dtype=torch.bfloat16 do. The result is then cast back to float32. Fused
 * products round their factors themselves.
 */
const PRODUCTS = new Set(['MatMul', 'BatchMatMulV2']);

/**
 * The operations that can read a packed copy of a weight W (copies.ts). `input` is the index of W
 * among the inputs. `transposed` is whether the operation multiplies by Wᵀ, not by W.
 */
const LAYERS = new Map([
  ['FusedLinear', { input: 1, transposed: true }],
  ['FusedLora', { input: 1, transposed: true }],
  ['FusedLoraBias', { input: 1, transposed: true }],
  ['FusedLoraGrad', { input: 2, transposed: false }],
]);

const isSet = (attributes: readonly AttributeValue[], wanted: string): boolean =>
  attributes.some(({ name, value }) => name === wanted && value === true);

/** Returns the attributes with `value` for the one called `wanted`, if there is one. */
const withValue = (
  attributes: readonly AttributeValue[],
  wanted: string,
  value: unknown,
): AttributeValue[] => attributes.map((one) => (one.name === wanted ? { ...one, value } : one));

/** Records the operations of regions in place of tfjs-node's backend, and runs their programs. */
class Recorder {
  readonly #backend: Internals;
  /** The parameter `sightings` of `prepareCompiling`. */
  sightings = SIGHTINGS;
  /** The precision of the matrix products in the innermost open region. */
  precision: Precision = 'float32';
  #trace: Trace | null = null;
  /** How many regions are open, each within the one before. */
  #depth = 0;
  /** The point at which all traces start, and the number of points that come after it. */
  #start = new Point(null);
  #points = 0;
  #calls = 0;
  #programs: Program[] = [];
  readonly #made = { functions: 0, operations: 0, seconds: 0 };
  /** Tensors whose entries were made in JavaScript during the region. */
  #written = new WeakSet<TensorData>();
  readonly #copies: Copies;
  /** The trace's tensors in bfloat16, by the float32 tensors that they were rounded from. */
  readonly #rounded = new Map<TensorData, TensorData>();
  /** Tensors that were disposed of, but are read by the trace: freed once it has been computed. */
  readonly #waiting: TensorData[] = [];
  #waitingBytes = 0;

  constructor(backend: Internals) {
    this.#backend = backend;
    this.#copies = new Copies(backend.binding);
    this.#replaceMethods();
  }

  /** Makes the backend record operations, and compute the trace before anything reads from it. */
  #replaceMethods(): void {
    const backend = this.#backend;
    const original = {
      executeSingleOutput: backend.executeSingleOutput.bind(backend),
      executeMultipleOutputs: backend.executeMultipleOutputs.bind(backend),
      getInputTensorIds: backend.getInputTensorIds.bind(backend),
      readSync: backend.readSync.bind(backend),
      disposeData: backend.disposeData.bind(backend),
      write: backend.write.bind(backend),
    };
    backend.executeSingleOutput = (name, attrs, inputs) =>
      (this.#record(name, attrs, inputs) ?? this.#runReplaced(name, attrs, inputs))?.[0] ??
      original.executeSingleOutput(name, attrs, inputs);
    backend.executeMultipleOutputs = (name, attrs, inputs, outputs) =>
      this.#record(name, attrs, inputs) ??
      this.#runReplaced(name, attrs, inputs) ??
      original.executeMultipleOutputs(name, attrs, inputs, outputs);
    backend.getInputTensorIds = (tensors) => {
      this.#computeTrace();
      return original.getInputTensorIds(tensors);
    };
    backend.readSync = (dataId) => {
      if (this.#trace?.isPending(backend.tensorMap.get(dataId)) === true) this.#computeTrace();
      return original.readSync(dataId);
    };
    backend.disposeData = (dataId, force = false) => {
      const data = backend.tensorMap.has(dataId) ? backend.tensorMap.get(dataId) : null;
      if (data === null || data.id < 0 || (!force && data.refCount > 1))
        return original.disposeData(dataId, force);
      // A tensor that the trace does not read is freed at once; one that it reads, later.
      if (this.#trace?.has(data) !== true) {
        this.#copies.drop(data);
        return original.disposeData(dataId, force);
      }
      this.#waiting.push(data);
      this.#waitingBytes += 4 * size(data.shape);
      backend.tensorMap.delete(dataId);
      if (this.#waitingBytes > WAITING) this.#computeTrace();
      return true;
    };
    backend.write = (values, shape, dtype) => {
      const dataId = original.write(values, shape, dtype);
      if (this.#trace !== null) this.#written.add(backend.tensorMap.get(dataId));
      return dataId;
    };
  }

  get recording(): boolean {
    return this.#depth > 0;
  }

  /**
   * Runs `run` as a region, and returns what it returns. When the outermost region ends, even if
   * `run` throws, the recorded tensors that are still in use are computed.
   */
  runRecorded<T>(run: () => T, precision: Precision): T {
    const outer = this.precision;
    this.precision = precision;
    this.#depth++;
    this.#trace ??= this.#beginTrace();
    try {
      return run();
    } finally {
      this.precision = outer;
      if (--this.#depth === 0) {
        this.#computeTrace();
        this.#trace = null;
        this.#written = new WeakSet();
      }
    }
  }

  #beginTrace(): Trace {
    this.#rounded.clear();
    return new Trace(this.#start, () => {
      this.#points++;
    });
  }

  /**
   * Adds an operation to the trace, and returns the tensors that will hold its outputs. Null if the
   * operation must be carried out now, for example because no region is open.
   */
  #record(
    name: string,
    attributes: readonly AttributeValue[],
    inputs: readonly TensorInfo[],
  ): Tensor[] | null {
    if (this.#trace === null) return null;
    const { tensorMap, binding } = this.#backend;
    // tfjs-node's stand-in for a 64-bit integer is not a tensor.
    if (!inputs.every((input) => 'dataId' in input)) return null;
    const datas = inputs.map(({ dataId }) => tensorMap.get(dataId));
    const outputs = outputsOf(name, attributes, datas);
    if (outputs === null) return null;
    if (this.#trace.operations.length >= LENGTH) this.#computeTrace();
    for (const data of datas) {
      // Tensors from before the region, such as weights, are handed to TensorFlow once and for all.
      if (data.values !== null && !this.#written.has(data) && !this.#trace.has(data)) {
        data.id = binding.createTensor(data.shape, data.dtype, data.values);
        data.values = null;
      }
    }
    const tensors = outputs.map(({ shape, dtype }) =>
      this.#backend.createOutputTensor({ id: -1, shape, dtype }),
    );
    const results = tensors.map(({ dataId }) => ({ data: tensorMap.get(dataId), dataId }));
    if (this.precision === 'bf16' && PRODUCTS.has(name) && datas[0]?.dtype === FLOAT)
      this.#addBf16Product(this.#trace, name, attributes, datas, results[0]!);
    else this.#addLayer(this.#trace, name, attributes, datas, results);
    return tensors;
  }

  /**
   * Adds a product in bfloat16. Each factor is cast once, however many products read it. The cast
   * of a factor that TensorFlow holds already, such as a frozen weight, is kept for later traces.
   */
  #addBf16Product(
    trace: Trace,
    name: string,
    attributes: readonly AttributeValue[],
    factors: readonly TensorData[],
    result: { readonly data: TensorData; readonly dataId: DataId },
  ): void {
    const { binding } = this.#backend;
    const inBfloat16 = ({ shape }: TensorData): TensorData => ({
      id: -1,
      shape,
      dtype: BFLOAT16,
      values: null,
      refCount: 1,
    });
    /**
     * Returns the factor in bfloat16: as rounded before in this trace, as a kept copy if TensorFlow
     * holds the factor, or as the result of a cast that is added to the trace.
     */
    const round = (data: TensorData): TensorData => {
      const known = this.#rounded.get(data);
      if (known !== undefined) return known;
      if (data.values === null && !trace.isPending(data)) {
        trace.reference(data); // so that its copy is kept until the trace is computed
        return this.#copies.cast(data);
      }
      const cast = inBfloat16(data);
      trace.add('Cast', castAttributes(binding, BFLOAT16), [data], [cast]);
      this.#rounded.set(data, cast);
      return cast;
    };
    const product = inBfloat16(result.data);
    trace.add(name, withValue(attributes, 'T', BFLOAT16), factors.map(round), [product]);
    // Later products read `product` itself: casting it to float32 and back changes no bit.
    this.#rounded.set(result.data, product);
    trace.add('Cast', castAttributes(binding, FLOAT), [product], [result]);
  }

  /**
   * Adds an operation. If it is a layer whose weight has a packed copy, the operation reads that
   * copy.
   */
  #addLayer(
    trace: Trace,
    name: string,
    attributes: readonly AttributeValue[],
    datas: readonly TensorData[],
    results: Parameters<Trace['add']>[3],
  ): void {
    const layer = LAYERS.get(name),
      weight = layer && datas[layer.input];
    const isHeld = weight?.values === null && !trace.isPending(weight);
    const packed =
      layer && isHeld && this.sightings < Infinity && isSet(attributes, 'frozen')
        ? this.#copies.packed(weight, layer.transposed, isSet(attributes, 'bf16'))
        : null;
    if (packed === null) {
      trace.add(name, attributes, datas, results);
      return;
    }
    if (weight !== undefined) trace.reference(weight); // keeps its copy until the trace is computed
    trace.add(
      name,
      withValue(attributes, 'packed', true),
      datas.map((data, i) => (i === layer?.input ? packed : data)),
      results,
    );
  }

  /** Carries out an operation at once if `isReplaced` says so. Returns null for any other. */
  #runReplaced(
    name: string,
    attributes: readonly AttributeValue[],
    inputs: readonly TensorInfo[],
  ): Tensor[] | null {
    if (!isReplaced(name)) return null;
    const { binding, tensorMap } = this.#backend;
    const types = inputs.map(({ dataId }) => tensorMap.get(dataId).dtype),
      ids = this.#backend.getInputTensorIds(inputs);
    return execute(binding, name, attributes, ids, types, 1).map((result) =>
      this.#backend.createOutputTensor(result),
    );
  }

  /** Computes the tensors of the trace that are still in use, and begins another trace. */
  #computeTrace(): void {
    const trace = this.#trace;
    if (trace === null || trace.operations.length === 0) return;
    const { tensorMap, binding } = this.#backend;
    this.#trace = null;
    try {
      const needed = trace.pending.filter(
        ({ dataId, data }) => tensorMap.has(dataId) && tensorMap.get(dataId) === data,
      );
      if (needed.length > 0) {
        const program = this.#programFor(trace, needed);
        program.run(binding, trace.sources, needed, this.sightings);
        if (program.compiled > 0) this.#calls++;
      }
    } finally {
      for (const data of this.#waiting) {
        this.#copies.drop(data);
        binding.deleteTensor(data.id);
      }
      this.#waiting.length = 0;
      this.#waitingBytes = 0;
      if (this.#points > POINTS || this.#compiledOperations() > COMPILED) this.#forgetPrograms();
      this.#trace = this.#beginTrace();
    }
  }

  /**
   * Returns the program that computes `needed` by the trace's operations; makes it if an equal
   * trace has not needed the same tensors before.
   */
  #programFor(trace: Trace, needed: Trace['pending']): Program {
    const references = needed.map(({ reference }) => reference),
      key = references.join();
    const known = trace.point.programs.get(key);
    if (known !== undefined) return known;
    const program = new Program(trace.operations, references, (operations, seconds) => {
      this.#made.functions++;
      this.#made.operations += operations;
      this.#made.seconds += seconds;
    });
    trace.point.programs.set(key, program);
    this.#programs.push(program);
    return program;
  }

  #forgetPrograms(): void {
    for (const program of this.#programs) program.dispose(this.#backend.binding);
    this.#programs = [];
    this.#points = 0;
    this.#start = new Point(null);
  }

  #compiledOperations(): number {
    return this.#programs.reduce((sum, program) => sum + program.compiled, 0);
  }

  statistics(): CompiledStatistics {
    return {
      functions: this.#programs.filter((program) => program.compiled > 0).length,
      operations: this.#compiledOperations(),
      made: { ...this.#made },
      calls: this.#calls,
      ...this.#copies.sizes,
      refused: this.#programs.flatMap(({ refused }) => refused ?? []),
    };
  }
}

export interface CompiledStatistics {
  /** The number of compiled functions that are kept in memory. */
  readonly functions: number;
  /** The number of operations in these functions. */
  readonly operations: number;
  /** The functions made since the backend was loaded, and the seconds that making them took. */
  readonly made: {
    readonly functions: number;
    readonly operations: number;
    readonly seconds: number;
  };
  /** The calls of functions since the backend was loaded. */
  readonly calls: number;
  /** The number of tensors that are kept in bfloat16 beside float32. */
  readonly casts: number;
  /** The number of frozen weights of which copies are kept in the order that products read. */
  readonly packed: number;
  /** For each function that TensorFlow did not accept, its error. */
  readonly refused: readonly string[];
}

const shared = processWide<{ recorder?: Recorder }>('recording', () => ({}));

/**
 * Prepares the loaded TensorFlow backend for `compiled`; on a GPU does nothing, since functions
 * have not been tried there.
 * @param sightings how many times the same operations are carried out one by one before they are
 *   compiled; Infinity: they never are
 */
export function prepareCompiling(sightings = SIGHTINGS): void {
  const backend = tensorflowBackend() as unknown as Internals;
  if (backend.isUsingGpuDevice) return;
  (shared.recorder ??= new Recorder(backend)).sightings = sightings;
}

/**
 * Returns what `run` returns, with its operations compiled where the backend can; this changes no
 * bit of the results. Tensors that `run` makes can be used like others afterwards.
 * @param precision that of the matrix products in `run`, except in calls of `compiled` within it
 * @throws if the precision is bf16 and the backend is not TensorFlow on a processor
 */
export function compiled<T>(run: () => T, precision: Precision = 'float32'): T {
  const { recorder } = shared;
  if (recorder === undefined || getBackend() !== 'tensorflow') {
    if (precision === 'float32') return run();
    throw new Error('products in bfloat16 need the TensorFlow backend on a processor');
  }
  // Even if nothing is to be compiled, a region in bfloat16 is recorded to replace its products.
  const plain = precision === 'float32' && !recorder.recording;
  return plain && recorder.sightings === Infinity ? run() : recorder.runRecorded(run, precision);
}

/** Returns the precision of matrix products in the region around the call. */
export const productPrecision = (): Precision => shared.recorder?.precision ?? 'float32';

/** Runs `run` with its matrix products in float32, whatever the precision around the call. */
export function inFloat32<T>(run: () => T): T {
  const { recorder } = shared;
  return recorder?.recording === true ? recorder.runRecorded(run, 'float32') : run();
}

/** Returns how much this process has compiled and called; null if it never compiles. */
export function compiledStatistics(): CompiledStatistics | null {
  const { recorder } = shared;
  return recorder === undefined || recorder.sightings === Infinity ? null : recorder.statistics();
}

type Counted = Pick<CompiledStatistics, 'made' | 'calls'>;

const NOTHING: Counted = { made: { functions: 0, operations: 0, seconds: 0 }, calls: 0 };

/** Returns a number with its noun: `1 time`, `1,200 times`. */
const withNoun = (n: number, one: string): string =>
  `${n.toLocaleString('en-US')} ${one}${n === 1 ? '' : 's'}`;

/**
 * Describes what was compiled and called between two readings of `compiledStatistics`; null if
 * nothing was called.
 */
export function describeCompiled(before: Counted | null, after: Counted | null): string | null {
  const { made, calls } = after ?? NOTHING,
    { made: earlier, calls: called } = before ?? NOTHING;
  if (calls === called) return null;
  const functions = made.functions - earlier.functions,
    times = withNoun(calls - called, 'time');
  // A worker that runs several stages can call functions that an earlier one compiled.
  if (functions === 0) return `called functions that were compiled before, ${times}`;
  const operations = withNoun(made.operations - earlier.operations, 'operation'),
    seconds = (made.seconds - earlier.seconds).toFixed(1);
  return (
    `compiled ${withNoun(functions, 'function')} (${operations}) in ${seconds} s, ` +
    `called functions ${times}`
  );
}
