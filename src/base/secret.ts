/** The shortest text to search for. A shorter one would occur in many files by chance. */
const SHORTEST = 4;

/**
 * Returns the lines of a secret that are long enough to search for, since a program may print any
 * line alone. If no line is, returns the whole value, or [] if that is too short as well.
 */
export function secretLines(value: string): readonly string[] {
  const lines = value.split(/\r?\n/).filter((line) => line.length >= SHORTEST);
  return lines.length === 0 && value.length >= SHORTEST ? [value] : lines;
}

export type Redact = (text: string) => string;

/**
 * Returns a function that replaces, in a text, each line of the secrets by `${env.NAME}`.
 * @param names the environment variables that hold secrets
 */
export function redactor(
  names: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Redact {
  const secrets = names
    .flatMap((name) => secretLines(env[name] ?? '').map((line) => ({ line, name })))
    .sort((a, b) => b.line.length - a.line.length); // longest first: one may contain another
  if (secrets.length === 0) return (text) => text;
  return (text) =>
    secrets.reduce((left, { line, name }) => left.replaceAll(line, () => `\${env.${name}}`), text);
}
