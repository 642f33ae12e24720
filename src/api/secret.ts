/** Which parts of a secret are searched for in logs and in what is stored. */

/** A shorter text would be found in many files by chance. */
const SHORTEST = 4;

/**
 * The lines of a secret's value, since a program may print any of them alone; the whole value if
 * each of its lines is too short to search for. Empty if the value itself is too short.
 */
export function secretLines(value: string): readonly string[] {
  const lines = value.split(/\r?\n/).filter((line) => line.length >= SHORTEST);
  return lines.length === 0 && value.length >= SHORTEST ? [value] : lines;
}
