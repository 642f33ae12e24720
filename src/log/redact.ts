/** Takes the values of secrets out of what is logged: a program may print what it was given. */

export type Redact = (text: string) => string;

/** A line of a secret shorter than this would be found in many a text by chance. */
const SHORTEST = 4;

/** @param names of the environment variables; each of their lines becomes `${env.NAME}` */
export function redactor(
  names: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Redact {
  const secrets = names
    .flatMap((name) =>
      (env[name] ?? '')
        .split(/\r?\n/)
        .filter((line) => line.length >= SHORTEST)
        .map((line) => ({ line, name })),
    )
    .sort((a, b) => b.line.length - a.line.length); // one may hold another
  if (secrets.length === 0) return (text) => text;
  return (text) =>
    secrets.reduce((left, { line, name }) => left.replaceAll(line, () => `\${env.${name}}`), text);
}
