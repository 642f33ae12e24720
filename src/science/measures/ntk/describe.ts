/**
 * Describes how kernels were computed, for people (log lines) and for programs (`methods.json`).
 */
import type { JsonObject } from '../../../api.ts';
import type { KernelSet } from './kernels.ts';
import type { TermRecord } from './layer.ts';
import type { Projection } from './projection.ts';
import type { KernelKind } from './terms.ts';

/** The kernel's name: K_LoRA where it is over factors, K_adapter where over vectors alone. */
function nameOf(kind: KernelKind, terms: readonly TermRecord[]): string {
  if (kind === 'full') return 'K_ff';
  const hasFactors = terms.some(({ parameter }) => parameter === 'A' || parameter === 'B');
  return hasFactors ? 'K_LoRA' : 'K_adapter';
}

const giga = (operations: number): string => (operations / 1e9).toPrecision(3);

const sum = (terms: readonly TermRecord[], of: (term: TermRecord) => number): number =>
  terms.reduce((total, term) => total + of(term), 0);

const spent = ({ method, operations }: TermRecord): number =>
  method === 'gram' ? operations.gram : operations.explicit;

/** @param projection the settings asked for; null where the kernels are exact */
export function describeKernels(
  found: KernelSet,
  projection: Projection | null,
): { readonly lines: readonly string[]; readonly record: JsonObject } {
  const lines: string[] = [];
  const kinds = (['lora', 'full'] as const).filter((kind) => found[kind] !== null);
  for (const kind of kinds) {
    const terms = found.terms.filter((term) => term.kernel === kind);
    const name = nameOf(kind, terms);
    const by = (method: TermRecord['method']): number =>
      terms.filter((term) => term.method === method).length;
    const none = by('zero') === 0 ? '' : `${by('zero')} zero, `;
    lines.push(
      `${name}: ${terms.length} terms, ${by('explicit')} by gradients and ${by('gram')} ` +
        `by token pairs, ${none}${giga(sum(terms, spent))} G operations ` +
        `(all by gradients ${giga(sum(terms, ({ operations }) => operations.explicit))}, all ` +
        `by token pairs ${giga(sum(terms, ({ operations }) => operations.gram))})`,
    );
    const { error } = found[kind]!;
    if (error !== null && projection !== null) {
      lines.push(
        `${name} is an estimate: gradients projected to ${projection.dimension} × ` +
          `${projection.dimension}, the mean of ${projection.replicates}; its standard error is ` +
          `${(100 * error).toPrecision(2)}% of its norm`,
      );
    }
  }
  const mega = Math.max(...found.groups.map(({ bytes }) => bytes)) / 2 ** 20;
  lines.push(
    `${found.groups.length} ${found.groups.length === 1 ? 'pass' : 'passes'} over the rows, at ` +
      `most ${mega.toFixed(0)} MB of layer inputs and derivatives at once`,
  );
  const record: JsonObject = {
    outputs: found.outputs,
    kernels: Object.fromEntries(
      kinds.map((kind) => [
        kind,
        {
          operations: sum(
            found.terms.filter((term) => term.kernel === kind),
            spent,
          ),
          error: found[kind]!.error,
        },
      ]),
    ),
    projection:
      projection === null
        ? null
        : {
            dimension: projection.dimension,
            replicates: projection.replicates,
            seed: projection.seed,
          },
    groups: found.groups.map(({ layers, bytes }) => ({ layers, bytes })),
    terms: found.terms.map(({ layer, kernel, parameter, method, projected, operations }) => ({
      layer,
      kernel,
      parameter,
      method,
      projected,
      operations: { explicit: operations.explicit, gram: operations.gram },
    })),
  };
  return { lines, record };
}
