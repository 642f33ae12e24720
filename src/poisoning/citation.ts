/** The paper whose attacks the `paper-*` plugins are. */
export const LIANG_2025 =
  'Liang et al., Does Low Rank Adaptation Lead to Lower Robustness against Training-time ' +
  'Attacks?, ICML 2025 (arXiv 2505.12871)';
