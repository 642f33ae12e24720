/** The points of a training at which kernels are computed. */

/**
 * A point as `ntk.at` names it: the start, the end, or a step that the train stage kept
 * (`train.checkpoints`).
 */
export type KernelPoint = 'init' | 'final' | number;

/** The name of a point's folder and the prefix of its metrics: `init`, `final`, `step-100`. */
export const pointName = (at: KernelPoint): string => (typeof at === 'number' ? `step-${at}` : at);

/** The points in the order of training. */
export const inOrder = (points: readonly KernelPoint[]): KernelPoint[] => {
  const position = (at: KernelPoint): number =>
    at === 'init' ? -1 : at === 'final' ? Infinity : at;
  return [...points].sort((a, b) => position(a) - position(b));
};

/** The points with these names, in the order of training. Names of no point are left out. */
export const pointsIn = (names: readonly string[]): KernelPoint[] =>
  inOrder(
    names.flatMap((name): KernelPoint[] => {
      if (name === 'init' || name === 'final') return [name];
      const step = /^step-(\d+)$/.exec(name)?.[1];
      return step === undefined ? [] : [Number(step)];
    }),
  );
