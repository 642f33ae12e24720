/** What the theory does not define for an adapter, as its parameters tell before anything runs. */
import type { JsonObject, PreflightContext, Problem } from '../../../src/api.ts';

type Upstream = PreflightContext['upstream'];

/** Returns the parameters of the adapter that the input `name` trains, if they are known. */
function adapterIn(upstream: Upstream, name: string): JsonObject {
  const adapter = upstream?.[name]?.params['adapter'];
  return typeof adapter === 'object' && adapter !== null ? (adapter as JsonObject) : {};
}

/**
 * Warns of an adapter for which Δ_r is not defined. The stage runs, since a grid may have other
 * adapters beside it, and writes that there is none.
 */
export function deltaWarnings(upstream: Upstream): readonly Problem[] {
  const { type, use_dora: dora } = adapterIn(upstream, 'model');
  const hint = 'Its results will have no Δ_r; kernels (stage ntk) are defined for it.';
  if (type === 'vera')
    return [
      {
        path: ['adapter', 'type'],
        message:
          "Δ_r is not defined for VeRA: its kernel is over vectors, not over a layer's factors",
        hint,
        warning: true,
      },
    ];
  if (dora !== true) return [];
  return [
    {
      path: ['adapter', 'use_dora'],
      message: 'Δ_r is not defined for DoRA: its magnitudes are trained and scale the factors',
      hint,
      warning: true,
    },
  ];
}

/** Reports an adapter whose linearised model is not defined, at which the stage would fail. */
export function linearisedFaults(upstream: Upstream): readonly Problem[] {
  if (adapterIn(upstream, 'model')['use_dora'] !== true) return [];
  return [
    {
      path: ['adapter', 'use_dora'],
      message:
        'a linearised prediction is not defined for DoRA: it is trained by a gradient that takes ' +
        "the weights' norms as constants",
      hint: 'Leave `regime` out of `stages`, or use_dora out of the adapter.',
    },
  ];
}
