/**
 * Removes the values of secrets from what is logged, because a program may print what it was given.
 */
import { secretLines } from '../../base/secret.ts';

export type Redact = (text: string) => string;

/**
 * Returns a function that replaces each line of a secret by `${env.NAME}`.
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
