/** Which parameters are exempt from weight decay. */

/**
 * Whether the name is that of a bias, or of a norm's scale or shift: transformers' Trainer exempts
 * these from decay.
 */
export const isBiasOrNorm = (name: string): boolean =>
  /(^|[._])bias$/.test(name) || /norm|(^|\.)ln_/i.test(name);
