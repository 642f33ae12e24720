import type { Diagnostic } from '../spec/types.ts';

/** The spec, or an option that changes it, is wrong. Carries every fault that was found. */
export class SpecFault extends Error {
  override readonly name = 'SpecFault';
  constructor(readonly diagnostics: readonly Diagnostic[]) {
    super(diagnostics.map(({ message }) => message).join('\n'));
  }
}
