/** Wrong labels. */
import type { AttackInput, Row } from '../api.ts';

/**
 * Returns one of the C − 1 other labels, drawn uniformly (1 − y for two classes). It is drawn from
 * the row's own stream, so that it is the same at every dose.
 */
export const otherLabel = (
  row: Row,
  { classes, random }: Pick<AttackInput<unknown>, 'classes' | 'random'>,
): number => (row.label + 1 + random('label', row.id).integer(classes.length - 1)) % classes.length;
