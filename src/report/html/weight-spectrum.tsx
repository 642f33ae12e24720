/** Singular values of the weight changes, and what the body forgot of its pretraining. */
import type { JSX } from 'preact';
import { type Condition, metricOf, type Quantity } from '../conditions.ts';
import { ADAPTER, ATTACK, having, numberColumn, OVER_SEEDS, startsBlock } from './columns.tsx';
import { Table } from './parts.tsx';

const of = (metric: string): Quantity => metricOf('spectrum', metric);

export function WeightSpectrum({
  conditions,
}: {
  readonly conditions: readonly Condition[];
}): JSX.Element | null {
  const rows = having(conditions, 'spectrum', 'effective_rank');
  if (rows.length === 0) return null;
  return (
    <>
      <h3>What training did to the weights</h3>
      <p>
        Singular values of each adapted layer’s ΔW. The effective rank is the smallest number of
        them that hold the chosen share of Σσ² (0.9 unless the spec says otherwise); intruder
        dimensions are large left singular vectors of the trained weight that resemble none of the
        initial weight’s (Shuttleworth et al. 2024).
      </p>
      <Table
        label="Spectra of weight changes"
        rows={rows}
        starts={startsBlock}
        caption={`Each value is a mean over layers. ${OVER_SEEDS}`}
        columns={[
          ATTACK,
          ADAPTER,
          numberColumn('‖ΔW‖/‖W₀‖', of('relative_change')),
          numberColumn('effective rank', of('effective_rank')),
          numberColumn('its largest', of('effective_rank_largest')),
          numberColumn('stable rank', of('stable_rank')),
          numberColumn('intruder dimensions', of('intruder_dimensions')),
          numberColumn('of vectors', of('vectors')),
        ]}
      />
      <Forgetting conditions={having(conditions, 'spectrum', 'forgetting')} />
    </>
  );
}

/** Shows what was forgotten, which is known only if the checkpoint has a masked-LM head. */
function Forgetting({
  conditions: rows,
}: {
  readonly conditions: readonly Condition[];
}): JSX.Element | null {
  if (rows.length === 0) return null;
  return (
    <>
      <p>
        Forgetting is the rise of the pretraining loss: mean −log p of masked tokens, in nats, under
        the checkpoint’s own masked-LM head over the body as it was trained. The texts are clean
        validation rows of this task, not the corpus of pretraining. 15% of a text’s tokens are to
        be predicted, of which 80% are shown masked, 10% as a token drawn at random and 10% as they
        are (Devlin et al. 2019), the same ones before and after and for every adapter of a seed.
      </p>
      <Table
        label="Forgetting"
        rows={rows}
        starts={startsBlock}
        caption={OVER_SEEDS}
        columns={[
          ATTACK,
          ADAPTER,
          numberColumn('masked-LM loss at the start', of('masked_lm_loss_start')),
          numberColumn('after training', of('masked_lm_loss')),
          numberColumn('forgetting', of('forgetting')),
          numberColumn('masked tokens', of('masked_tokens')),
        ]}
      />
    </>
  );
}
