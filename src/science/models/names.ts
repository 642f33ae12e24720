/** Names of a model's modules and parameters. */
import type { Architecture } from './types.ts';

/** Whether a parameter or layer belongs to one of these modules. */
export const within = (name: string, modules: readonly string[]): boolean =>
  modules.some((module) => name === module || name.startsWith(`${module}.`));

/** The module of a layer, as it is called in the model that PEFT wraps. */
export const moduleName = (architecture: Architecture, layer: string): string =>
  architecture.externalName(`${layer}.weight`).replace(/\.weight$/, '');
