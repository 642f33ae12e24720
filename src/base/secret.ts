/** Which parts of a secret are searched for in logs and in stored files. */

/** The shortest text to search for. A shorter one would occur in many files by chance. */
const SHORTEST = 4;

/**
 * Returns the lines of a secret's value that are long enough to search for, since a program may
 * print any of them alone. If every line is too short, returns the whole value; if that is too
 * short as well, returns an empty list.
 */
export function secretLines(value: string): readonly string[] {
  const lines = value.split(/\r?\n/).filter((line) => line.length >= SHORTEST);
  return lines.length === 0 && value.length >= SHORTEST ? [value] : lines;
}
