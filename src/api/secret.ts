/** What of a secret is looked for, in logs and in what is stored. */

/** A text shorter than this would be found in many a file by chance. */
const SHORTEST = 4;

/**
 * The lines of a secret's value, since a program may write any of them alone; the whole value where all of its lines are too
 * short to look for. Empty: so is the value.
 */
export function secretLines(value: string): readonly string[] {
  const lines = value.split(/\r?\n/).filter((line) => line.length >= SHORTEST);
  return lines.length === 0 && value.length >= SHORTEST ? [value] : lines;
}
