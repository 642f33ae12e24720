/**
 * The operations that can be part of a compiled function, with the shape and type of what each
 * returns. TensorFlow's own are defined in `core/ops/*_ops.cc`; those that set-up adds bring their
 * rule where they are called (`operation` in src/tensor/operation.ts).
 */
import { processWide } from '../../base/process-wide.ts';

/** A tensor as the rules see it. */
interface Value {
  readonly shape: readonly number[];
  /** TensorFlow's number of the type. */
  readonly dtype: number;
  /** The entries, where they are known before the operation runs. */
  readonly values: ArrayLike<number> | null;
}

export interface AttributeValue {
  readonly name: string;
  readonly type: number;
  readonly value: unknown;
}

export type Output = Pick<Value, 'shape' | 'dtype'>;

/**
 * The inputs of an operation. The type lets rules read five by position; an operation may have
 * fewer, and its rule then reads only those.
 */
type Inputs = readonly [Value, Value, Value, Value, Value, ...Value[]];

/** Returns an operation's outputs; null where their shapes depend on entries that are not known. */
export type Rule = (
  inputs: Inputs,
  attribute: (name: string) => unknown,
) => readonly Output[] | null;

/** TF_BOOL of tensorflow/c/tf_datatype.h. */
const BOOL = 10;

/** Returns the number of entries of a tensor of this shape. */
export const size = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** Returns the shape of the result of an operation that works entry by entry. */
function broadcast(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const x = a[i - rank + a.length] ?? 1,
      y = b[i - rank + b.length] ?? 1;
    return x === 1 ? y : x;
  });
}

/**
 * Returns the rule of an operation with one output, which has the type of the first input and the
 * shape that `shapeOf` returns. If `shapeOf` returns null, so does the rule.
 */
export const shaped =
  (
    shapeOf: (inputs: Inputs, attribute: (name: string) => unknown) => readonly number[] | null,
  ): Rule =>
  (inputs, attribute) => {
    const shape = shapeOf(inputs, attribute);
    return shape && [{ shape, dtype: inputs[0].dtype }];
  };

/**
 * Returns the axes of the second tensor that the first one lists; negative ones are counted from
 * the end. Null if the entries of the list are not known.
 */
const axesIn = ({ values }: Value, { shape }: Value): number[] | null =>
  values && Array.from(values, (axis) => (axis < 0 ? axis + shape.length : axis));

/**
 * Returns a tensor's entries as a shape; null if they are not known. A −1 among them becomes the
 * extent with which the shape has `total` entries.
 */
function shapeIn({ values }: Value, total: number): number[] | null {
  const shape = values && Array.from(values),
    open = shape?.indexOf(-1) ?? -1;
  if (shape && open >= 0) shape[open] = total / -size(shape); // −1 is a factor of the size
  return shape;
}

/** The rule of an operation whose one output has the shape and type of the first input. */
export const same: Rule = ([x]) => [x];
const elementwise = shaped(([a, b]) => broadcast(a.shape, b.shape));
const comparison: Rule = ([a, b]) => [{ shape: broadcast(a.shape, b.shape), dtype: BOOL }];

/**
 * The rule of an operation that reduces x along the axes that its second input lists. These axes
 * are left out or, with `keep_dims`, have extent 1.
 */
const reduction = shaped(([x, indices], attribute) => {
  const axes = axesIn(indices, x),
    kept = attribute('keep_dims') === true ? [1] : [];
  return axes && x.shape.flatMap((extent, i) => (axes.includes(i) ? kept : [extent]));
});

/**
 * Returns the rule of a matrix product.
 * @param transposeA the attribute that says whether a is transposed; `transposeB` likewise for b
 */
export const matMul = (transposeA: string, transposeB: string): Rule =>
  shaped(([a, b], attribute) => [
    ...broadcast(a.shape.slice(0, -2), b.shape.slice(0, -2)),
    a.shape.at(attribute(transposeA) === true ? -1 : -2)!,
    b.shape.at(attribute(transposeB) === true ? -2 : -1)!,
  ]);

/**
 * Returns the shape of x with one axis replaced by the shape of the indices; null if the axis is
 * not known, or negative.
 */
const gatherShape = (axis: number | undefined, [x, indices]: Inputs): number[] | null =>
  axis === undefined || axis < 0
    ? null
    : [...x.shape.slice(0, axis), ...indices.shape, ...x.shape.slice(axis + 1)];

/**
 * The rule of Pad. The second input, (rank, 2), has the numbers of entries that are added before
 * and after x along each axis.
 */
const padded = shaped(
  ([x, { values: by }]) => by && x.shape.map((extent, i) => extent + by[2 * i]! + by[2 * i + 1]!),
);

/** Returns the shape of a tensor with another extent along one axis. */
const withExtent = ({ shape }: Value, axis: number, extent: number): number[] =>
  shape.map((own, i) => (i === axis ? extent : own));

/** Returns an entry of RULES for each of the names, which are separated by spaces. */
const each = (names: string, rule: Rule): [name: string, rule: Rule][] =>
  names.split(' ').map((name) => [name, rule]);

/**
 * The rules by operation. A rule also returns null for a form that it does not know, such as a
 * negative axis or batches in a gather.
 */
const RULES = new Map<string, Rule>([
  ...each('Abs Ceil Cos Elu Erf Exp Expm1 Floor Log Log1p LogicalNot LogSoftmax Neg Relu', same),
  ...each('Round Rsqrt Sigmoid Sign Sin Softmax Softplus Sqrt Square Tanh ZerosLike AddN', same),
  ...each('Add AddV2 Div FloorDiv FloorMod LogicalAnd LogicalOr Maximum Minimum', elementwise),
  ...each('Mul Pow RealDiv SquaredDifference Sub', elementwise),
  ...each('Equal NotEqual Greater GreaterEqual Less LessEqual', comparison),
  ...each('All Any Max Mean Min Prod Sum', reduction),
  ...each('Pad PadV2', padded),
  ['BatchMatMulV2', matMul('adj_x', 'adj_y')],
  ['MatMul', matMul('transpose_a', 'transpose_b')],
  ['Cast', ([{ shape }], attribute) => [{ shape, dtype: attribute('DstT') as number }]],
  [
    'ConcatV2',
    shaped((inputs) => {
      const parts = inputs.slice(0, -1),
        axis = axesIn(inputs.at(-1)!, inputs[0])?.[0];
      if (axis === undefined) return null;
      return withExtent(
        inputs[0],
        axis,
        parts.reduce((sum, { shape }) => sum + shape[axis]!, 0),
      );
    }),
  ],
  ['Fill', ([{ values }, { dtype }]) => values && [{ shape: Array.from(values), dtype }]],
  ['Gather', shaped((inputs) => gatherShape(0, inputs))],
  [
    'GatherV2',
    shaped((inputs, attribute) =>
      (attribute('batch_dims') ?? 0) === 0 ? gatherShape(inputs[2].values?.[0], inputs) : null,
    ),
  ],
  [
    'OneHot',
    ([{ shape }, depth, { dtype }], attribute) => {
      const count = depth.values?.[0];
      if (count === undefined || attribute('axis') !== -1) return null;
      return [{ shape: [...shape, count], dtype }];
    },
  ],
  [
    'Pack',
    shaped((inputs, attribute) => {
      const [{ shape }] = inputs,
        axis = (attribute('axis') ?? 0) as number;
      return axis < 0 ? null : [...shape.slice(0, axis), inputs.length, ...shape.slice(axis)];
    }),
  ],
  ['Reshape', shaped(([x, to]) => shapeIn(to, size(x.shape)))],
  [
    'Slice',
    shaped(([x, { values: begin }, { values: extents }]) =>
      begin === null || extents === null
        ? null
        : Array.from(extents, (extent, i) => (extent === -1 ? x.shape[i]! - begin[i]! : extent)),
    ),
  ],
  [
    'SplitV',
    ([x, { values: sizes }, split]) => {
      const axis = axesIn(split, x)?.[0];
      if (sizes === null || axis === undefined) return null;
      const extents = Array.from(sizes);
      return extents.includes(-1)
        ? null
        : extents.map((extent) => ({ shape: withExtent(x, axis, extent), dtype: x.dtype }));
    },
  ],
  ['Tile', shaped(([x, { values: by }]) => by && x.shape.map((extent, i) => extent * by[i]!))],
  [
    'Transpose',
    shaped(([x, { values: order }]) => order && Array.from(order, (axis) => x.shape[axis]!)),
  ],
  [
    'UnsortedSegmentSum',
    shaped(
      ([x, ids, { values: count }]) => count && [count[0]!, ...x.shape.slice(ids.shape.length)],
    ),
  ],
]);

/** Operations whose first input is a list of N tensors, where N is an attribute. */
const LISTS = ['AddN', 'ConcatV2', 'Pack'];

/**
 * The operations that set-up adds. `list` is the index of the input that is a list of N tensors;
 * undefined if there is none.
 */
export const ADDED = processWide(
  'added-operations',
  () => new Map<string, { readonly rule: Rule; readonly list: number | undefined }>(),
);

/** Returns the value of the attribute of this name; undefined if there is none. */
const attributeOf = (attributes: readonly AttributeValue[], wanted: string): unknown =>
  attributes.find(({ name }) => name === wanted)?.value;

/**
 * Returns the shapes and types of an operation's outputs; null if the operation cannot be part of a
 * function, or if its shapes cannot be known before it runs.
 */
export function outputsOf(
  name: string,
  attributes: readonly AttributeValue[],
  inputs: readonly Value[],
): readonly Output[] | null {
  const rule = RULES.get(name) ?? ADDED.get(name)?.rule;
  return rule === undefined
    ? null
    : rule(inputs as unknown as Inputs, (wanted) => attributeOf(attributes, wanted));
}

/**
 * Returns a number for each input in the operation's definition: the length of the list if the
 * input is a list of tensors, −1 if it is a single tensor.
 * @param count the number of tensors that the operation reads
 */
export function listLengths(
  name: string,
  attributes: readonly AttributeValue[],
  count: number,
): number[] {
  const list = LISTS.includes(name) ? 0 : ADDED.get(name)?.list;
  if (list === undefined) return new Array<number>(count).fill(-1);
  const length = attributeOf(attributes, 'N'),
    listed = typeof length === 'number' ? length : count;
  const lengths = new Array<number>(count - listed + 1).fill(-1);
  lengths[list] = listed;
  return lengths;
}
