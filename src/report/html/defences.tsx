/** The threat table: attacks against defences, and how well each defence detects. */
import type { JSX } from 'preact';
import type { Condition } from '../conditions.ts';
import { defenceCaveats, DEFENCES, isDefended } from '../defences.ts';
import { metricsOfTable } from '../metrics.ts';
import type { Figure } from '../types.ts';
import { anyHas, expectedMetrics, MetricTable } from './metric-table.tsx';
import { Figures } from './parts.tsx';

/** Shows nothing unless some condition has a defence. */
export function Defences({
  conditions,
  figures,
}: {
  readonly conditions: readonly Condition[];
  readonly figures: readonly Figure[];
}): JSX.Element | null {
  const defended = conditions.filter(isDefended);
  if (defended.length === 0) return null;
  const metrics = metricsOfTable('defence');
  return (
    <>
      <h3 id={DEFENCES.id}>{DEFENCES.title}</h3>
      {defenceCaveats(conditions).map((caveat) => (
        <p>{caveat}</p>
      ))}
      <Figures figures={figures} layout="wide" />
      <MetricTable
        label="How well defences detect, by condition"
        conditions={defended.filter((one) => metrics.some((note) => anyHas([one], note)))}
        metrics={metrics}
        expects={expectedMetrics(conditions)}
      />
    </>
  );
}
