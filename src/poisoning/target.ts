/** What a backdoor leads to: a class, or an answer. */
import type { Row, Target } from '../api.ts';

/**
 * Whether a row's class or answer is the target already. White space around an answer does not
 * count, because models and scorers disregard it too.
 */
export const isOfTarget = (
  { label, answer = '' }: Pick<Row, 'label' | 'answer'>,
  target: Target,
): boolean =>
  typeof target === 'number' ? label === target : answer.trim() === target.text.trim();

/** Returns the row with the target as its label or its answer. */
export const withTarget = (row: Row, target: Target): Row =>
  typeof target === 'number' ? { ...row, label: target } : { ...row, answer: target.text };

/**
 * Returns the label id of a target. Throws an Error if the target is an answer: the caller is for
 * classes alone.
 */
export function classOf(target: Target): number {
  if (typeof target === 'number') return target;
  throw new Error('a target of a completion task has no class');
}
