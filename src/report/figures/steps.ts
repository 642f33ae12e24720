/** Clean accuracy, attack success and accuracy on the poisoned rows over the steps of a training. */
import type { TopLevelSpec } from 'vega-lite';
import { blockLabel, type Condition, distinct } from '../conditions.ts';
import { toCsv } from '../csv.ts';
import type { CurveFacts, Figure } from '../types.ts';
import { left } from './scores.ts';
import { draw } from './svg.ts';
import { adapterPalette, legendColumns } from './theme.ts';

const MOST_FIGURES = 4;
const MOST_ADAPTERS = 8;
const PANELS: readonly {
  readonly of: Exclude<keyof CurveFacts, 'step'>;
  readonly title: string;
}[] = [
  { of: 'accuracy', title: 'clean accuracy' },
  { of: 'asr', title: 'ASR' },
  { of: 'poisoned_accuracy', title: 'accuracy on poisoned rows' },
];

export async function stepFigures(conditions: readonly Condition[]): Promise<Figure[]> {
  const seen = conditions.filter(({ cells }) =>
    cells.some(({ curves }) => (curves?.length ?? 0) > 1),
  );
  const blocks = distinct(seen.map(blockLabel));
  const adapters = distinct(seen.map(({ adapterLabel }) => adapterLabel)).slice(0, MOST_ADAPTERS);
  const palette = adapterPalette(conditions);
  const figures: Figure[] = [];
  for (const [index, block] of blocks.slice(0, MOST_FIGURES).entries()) {
    const shown = seen.filter(
      (condition) => blockLabel(condition) === block && adapters.includes(condition.adapterLabel),
    );
    const values = shown.flatMap(({ adapterLabel, cells }) =>
      cells.flatMap(({ seed, curves }) =>
        (curves ?? []).flatMap((point) =>
          PANELS.flatMap(({ of, title }) => {
            const value = point[of];
            return value === undefined
              ? []
              : [
                  {
                    adapter: adapterLabel,
                    seed,
                    run: `${adapterLabel} ${seed}`,
                    step: point.step,
                    metric: title,
                    value,
                  },
                ];
          }),
        ),
      ),
    );
    const panels = PANELS.map(({ title }) => title).filter((title) =>
      values.some(({ metric }) => metric === title),
    );
    const spec: TopLevelSpec = {
      data: { values },
      hconcat: panels.map((title) => ({
        width: 200,
        height: 150,
        title: { text: title, fontSize: 11, fontWeight: 'normal' as const },
        transform: [{ filter: { field: 'metric', equal: title } }],
        mark: { type: 'line' as const, point: { size: 14 }, strokeWidth: 1.4, opacity: 0.8 },
        encoding: {
          x: {
            field: 'step',
            type: 'quantitative' as const,
            title: 'step',
            axis: { grid: false, tickMinStep: 1, tickCount: 5, format: 'd' },
            scale: { nice: false },
          },
          y: {
            field: 'value',
            type: 'quantitative' as const,
            title: null,
            scale: { domain: [0, 1] },
          },
          color: {
            field: 'adapter',
            type: 'nominal' as const,
            title: null,
            scale: { domain: palette.domain as string[], range: palette.range as string[] },
            legend: {
              values: adapters,
              columns: legendColumns(adapters),
              symbolType: 'stroke' as const,
            },
          },
          detail: { field: 'run' },
        },
      })),
    };
    const id = `steps-${index}`;
    const title = `Over steps, ${block}`;
    figures.push({
      id,
      title,
      caption: `One line a seed, from the model as it starts.${index === 0 ? left(blocks.length - MOST_FIGURES, 'attack condition') : ''}`,
      svg: await draw(spec, id, title),
      csv: toCsv(
        values.map(({ adapter, seed, step, metric, value }) => ({
          attack: block,
          adapter,
          seed,
          step,
          metric,
          value,
        })),
      ),
    });
  }
  return figures;
}
