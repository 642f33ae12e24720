/** The adapters that add no parameters, as their plugins load them. */
import bitfitPlugin from '../../plugins/adapters/bitfit.ts';
import headOnlyPlugin from '../../plugins/adapters/head-only.ts';
import lnTuningPlugin from '../../plugins/adapters/ln-tuning.ts';

export const bitfit = await bitfitPlugin.load();
export const headOnly = await headOnlyPlugin.load();
export const lnTuning = await lnTuningPlugin.load();
