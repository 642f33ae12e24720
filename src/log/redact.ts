/** Takes the values of secrets out of what is logged: a program may print what it was given. */
import { secretLines } from '../api/secret.ts';

export type Redact = (text: string) => string;

/** @param names of the environment variables; each of their lines becomes `${env.NAME}` */
export function redactor(
  names: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Redact {
  const secrets = names
    .flatMap((name) => secretLines(env[name] ?? '').map((line) => ({ line, name })))
    .sort((a, b) => b.line.length - a.line.length); // one may hold another
  if (secrets.length === 0) return (text) => text;
  return (text) =>
    secrets.reduce((left, { line, name }) => left.replaceAll(line, () => `\${env.${name}}`), text);
}
