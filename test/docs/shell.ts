/** Shell blocks of the documents as commands, and what the command line says about its commands. */
import type { Block } from './blocks.ts';

export interface Command {
  /** `docs/guides/report.md:7`. */
  readonly place: string;
  readonly words: readonly string[];
}

/**
 * Returns the words of a line, without its comment and its variables. Quotes group words; no other
 * character is special.
 */
function wordsOf(line: string): string[] {
  const words = [...line.matchAll(/#.*$|"([^"]*)"|'([^']*)'|\S+/g)]
    .filter(([whole]) => !whole.startsWith('#'))
    .map(([whole, double, single]) => double ?? single ?? whole);
  const first = words.findIndex((word) => !/^[A-Z_]+=/.test(word));
  return first < 0 ? [] : words.slice(first);
}

export const commandsOf = ({ place, text }: Block): Command[] =>
  text
    .split('\n')
    .map((line) => ({ place, words: wordsOf(line) }))
    .filter(({ words }) => words.length > 0);

/** Returns what follows `npx dosimeter`, up to a `>`; null for another command. */
export function argumentsOf({ words }: Command): readonly string[] | null {
  const at = words.indexOf('dosimeter'),
    to = words.indexOf('>');
  return words[0] === 'npx' && at > 0 ? words.slice(at + 1, to < 0 ? undefined : to) : null;
}

export interface Usage {
  /** Each option by its long name, and whether it takes a value. */
  readonly options: ReadonlyMap<string, boolean>;
  readonly fewest: number;
  readonly most: number;
}

/** The names of the commands, as `dosimeter --help` lists them. */
export const commandNames = (help: string): string[] =>
  [...help.slice(help.indexOf('\nCommands:')).matchAll(/^ {2}([a-z][a-z-]*)\b/gm)].map(
    ([, name]) => name ?? '',
  );

/** Reads the options and arguments that `dosimeter NAME --help` lists. */
export function usageOf(help: string): Usage {
  const [first = ''] = help.split('\n');
  const places = first.replace('[options]', '').match(/<[^>]+>|\[[^\]]+\]/g) ?? [];
  const options = [...help.matchAll(/^ {2}(?:-\w, )?(--[a-z0-9-]+)( [<[])?/gm)].map(
    ([, name = '', value]): [string, boolean] => [name, value !== undefined],
  );
  return {
    options: new Map(options),
    fewest: places.filter((place) => place.startsWith('<')).length,
    most: places.length,
  };
}

/** Returns what is wrong with a call of a command; null where nothing is. */
export function callFault(rest: readonly string[], usage: Usage): string | null {
  let places = 0;
  for (let i = 0; i < rest.length; i++) {
    const word = rest[i] ?? '';
    if (!word.startsWith('--')) {
      places++;
      continue;
    }
    const takesValue = usage.options.get(word);
    if (takesValue === undefined) return `there is no option ${word}`;
    if (takesValue) i++;
  }
  if (places < usage.fewest) return `it takes ${usage.fewest} arguments at least, not ${places}`;
  if (places > usage.most) return `it takes ${usage.most} arguments at most, not ${places}`;
  return null;
}
