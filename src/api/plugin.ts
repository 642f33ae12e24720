/** What descriptors of every kind have in common. */
export interface Plugin<Kind extends string> {
  /** Set by the `define*` function. */
  readonly kind: Kind;
  /** Lower-case letters, digits and hyphens; unique among the plugins of its kind. */
  readonly name: string;
  /** One sentence, shown by `dosimeter plugins`. */
  readonly summary: string;
}
