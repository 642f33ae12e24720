/** The output of a bench: one claim per line, as a table for people or JSON lines for programs. */
export interface Claim {
  readonly bench: string;
  readonly claim: string;
  readonly value: number;
  readonly unit: string;
  readonly peer: string;
  readonly peer_value: number;
  /** How many times better than the peer: value/peer for rates, peer/value for times and sizes. */
  readonly ratio: number;
  readonly goal: number | null;
  readonly holds: boolean | null;
}

export interface Measurement {
  readonly claim: string;
  readonly unit: string;
  readonly value: number;
  readonly peer: string;
  readonly peerValue: number;
  /** `rate`: more is better; `cost`: less is better. */
  readonly sense: 'rate' | 'cost';
  /** The ratio to reach, where one is claimed. */
  readonly goal?: number;
}

export function makeClaim(
  bench: string,
  { claim, unit, value, peer, peerValue, sense, goal }: Measurement,
): Claim {
  const ratio = sense === 'rate' ? value / peerValue : peerValue / value;
  return {
    bench,
    claim,
    value,
    unit,
    peer,
    peer_value: peerValue,
    ratio,
    goal: goal ?? null,
    holds: goal === undefined ? null : ratio >= goal,
  };
}

const number = (x: number): string => x.toPrecision(3);

export const printClaim = (c: Claim): string =>
  `${c.claim}: ${number(c.value)} ${c.unit} against ${number(c.peer_value)} (${c.peer}): ` +
  `${number(c.ratio)}×` +
  (c.goal === null ? '' : `, goal ${number(c.goal)}×: ${c.holds === true ? 'holds' : 'MISSED'}`);

/** Returns the median. Throws RangeError where there are no values. */
export function median(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError('no value to take the median of');
  const sorted = [...values].sort((a, b) => a - b),
    half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
}
