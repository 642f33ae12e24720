/** The rules of evidence.ts, in words. */
import type { JSX } from 'preact';

export const EvidenceRule = ({ answers }: { readonly answers: boolean }): JSX.Element => (
  <details>
    <summary>What counts as evidence</summary>
    {answers && (
      <p>
        Here “class” stands for what a model writes: the commonest class is the commonest answer,
        the accuracy is exact match, and the target class is what the scorer counts.
      </p>
    )}
    <ul>
      <li>
        <strong>One class.</strong> A model that gives every untriggered validation row the same
        class is not counted, and neither is an accuracy drop against such a clean run: its accuracy
        is that class’s share and its ASR 0 or 1, whatever it was trained on.
      </li>
      <li>
        <strong>No better than the majority.</strong> Where accuracy is not above the share of the
        commonest class, by McNemar’s exact test on the validation rows (two-sided, 5%), the ASR is
        not counted, and neither is an accuracy drop where that holds for the clean run.
      </li>
      <li>
        <strong>What the trigger adds.</strong> ASR minus the same model’s rate of the target class
        on the same rows without the trigger. Where it is not above 0 by the same test, no effect of
        the trigger can be shown. A verdict on ASR is given only where the paired difference of ASR
        and that of what the trigger adds both exclude zero by the margin, in the same direction.
      </li>
      <li>
        <strong>Trigger read.</strong> The share of triggered rows in which max_length cuts off no
        token that differs from the original, and what the model reads does differ. Below 1, ASR
        counts rows whose trigger the model never read as attacks that failed.
      </li>
      <li>
        Pairs that are not evidence are left out of differences, intervals and verdicts, and are
        listed as excluded. Comparisons of Fisher information after training leave out models that{' '}
        {answers ? 'write one text only' : 'predict one class only'}.
      </li>
    </ul>
  </details>
);
