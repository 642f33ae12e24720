/** Which parameters weight decay leaves alone. */

/** A bias, or a norm's scale or shift, by name: what transformers' Trainer puts into its group without decay. */
export const isBiasOrNorm = (name: string): boolean =>
  /(^|[._])bias$/.test(name) || /norm|(^|\.)ln_/i.test(name);
