/** Reads the fields of a config.json, which comes from outside: each is checked and bounded. */
import { UserFault } from '../../api.ts';
import { named } from '../../base/lookup.ts';
import { isRecord, shown } from '../../base/untrusted/json.ts';
import { activations } from './activation.ts';
import type { ConfigFields, Size } from './families/description.ts';

/**
 * Bounds on sizes, several times those of the largest models. A larger value is a mistake or an
 * attempt to exhaust memory.
 */
const MOST = {
  vocabulary: 10_000_000,
  width: 100_000,
  heads: 10_000,
  layers: 1000,
  'wide width': 1_000_000,
  positions: 10_000_000,
  types: 100_000,
} as const satisfies Record<Size, number>;

type Checked = Pick<ConfigFields, 'only' | 'choice'> & {
  readonly number: (
    field: string,
    fallback: number | undefined,
    accept: (x: number) => boolean,
    expected: string,
  ) => number;
};

/** The readers that the others are made of. */
function checked(json: { readonly [field: string]: unknown }, place: string): Checked {
  const number = (
    field: string,
    fallback: number | undefined,
    accept: (x: number) => boolean,
    expected: string,
  ): number => {
    const value = json[field] ?? fallback;
    if (value === undefined) throw new UserFault(`config.json lacks ${place}${field}`);
    if (typeof value !== 'number' || !accept(value))
      throw new UserFault(
        `config.json: ${place}${field} is ${shown(value)}; it must be ${expected}`,
      );
    return value;
  };
  const only = (field: string, accepted: readonly unknown[]): void => {
    if (json[field] === undefined || accepted.includes(json[field])) return;
    throw new UserFault(
      `config.json: ${place}${field} ${shown(json[field])} is not implemented`,
      `Implemented: ${accepted.map((x) => JSON.stringify(x)).join(', ')}.`,
    );
  };
  const choice = <T extends string>(field: string, accepted: readonly T[], fallback?: T): T => {
    only(field, fallback === undefined ? accepted : [...accepted, null]);
    const value = (json[field] ?? fallback) as T | undefined;
    if (value === undefined) throw new UserFault(`config.json lacks ${place}${field}`);
    return value;
  };
  return { number, only, choice };
}

/** @param place the path of the object in config.json, for messages, with its dot */
export function configFields(json: unknown, place = ''): ConfigFields {
  if (!isRecord(json)) throw new UserFault('config.json is not an object');
  const read = new Map<string, number>();
  const { number, only, choice } = checked(json, place);
  return {
    modelType: String(json['model_type']),
    count: (field, size, fallback) => {
      const most = MOST[size];
      const value = number(
        field,
        fallback,
        (x) => Number.isInteger(x) && x >= 1 && x <= most,
        `a whole number from 1 to ${most}`,
      );
      read.set(field, value);
      return value;
    },
    quotient: (total, parts) => {
      const [a, b] = [named(read, total), named(read, parts)];
      if (a % b !== 0)
        throw new UserFault(
          `config.json: ${place}${total} ${a} is not a multiple of ${place}${parts} ${b}`,
        );
      return a / b;
    },
    positive: (field, fallback) => number(field, fallback, (x) => x > 0 && x <= 1e9, 'above 0'),
    flag: (field, fallback) => {
      const value = json[field] ?? fallback;
      if (typeof value !== 'boolean')
        throw new UserFault(
          `config.json: ${place}${field} is ${shown(value)}; it must be true or false`,
        );
      return value;
    },
    choice,
    activation: (field, fallback) => choice(field, Object.keys(activations), fallback),
    only,
    token: (field, vocabulary, fallback) =>
      json[field] === null || (json[field] === undefined && fallback === null)
        ? null
        : number(
            field,
            fallback ?? undefined,
            (x) => Number.isInteger(x) && x >= 0 && x < vocabulary,
            `a token id below ${vocabulary}`,
          ),
    inner: (field) => {
      const value = json[field] ?? null;
      if (value === null) return null;
      if (!isRecord(value))
        throw new UserFault(
          `config.json: ${place}${field} is ${shown(value)}; it must be an object`,
        );
      return configFields(value, `${place}${field}.`);
    },
    raw: (field) => json[field],
    sizes: () => [...read].map(([field, value]) => `${place}${field} ${value}`).join(', '),
  };
}
