/** The parameter of defences that prune the change of weights. */
import type { JsonSchema } from '../api.ts';

export interface PruningParams {
  readonly share: number;
}

/** @param whole what the share is one of, such as "each matrix's entries" */
export const pruningProperties = (whole: string): { readonly share: JsonSchema } => ({
  share: {
    type: 'number',
    minimum: 0,
    maximum: 1,
    default: 0.5,
    description: `The share of ${whole} that is reset.`,
  },
});
