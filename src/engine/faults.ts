import type { Diagnostic } from '../experiment/types.ts';

/** The spec, or what was asked of it, is wrong: every fault at once. */
export class SpecFault extends Error {
  override readonly name = 'SpecFault';
  constructor(readonly diagnostics: readonly Diagnostic[]) {
    super(diagnostics.map(({ message }) => message).join('\n'));
  }
}
