/** The margins of verdicts: differences within ±margin count as none. */

/** The margin of accuracies and rates, one percentage point. */
export const PROPORTION_MARGIN = 0.01;
/**
 * The margin of information bits and entropies, which have no natural scale, as a share of the full
 * kernel's value.
 */
export const RELATIVE_MARGIN = 0.01;
/** The margin of rank correlations, which lie in [−1, 1]. */
export const CORRELATION_MARGIN = 0.1;
