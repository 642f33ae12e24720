/** By which rules a number counts as evidence, as evidence.ts applies them. */
import type { JSX } from 'preact';

export const EvidenceRule = (): JSX.Element => (
  <details>
    <summary>What counts as evidence</summary>
    <ul>
      <li>
        <strong>One class.</strong> A model that gives every untriggered validation row the same
        class counts for nothing, nor does an accuracy drop against a clean run that does: its
        accuracy is that class’s share and its ASR 0 or 1, whatever it was trained on.
      </li>
      <li>
        <strong>No better than the majority.</strong> Where accuracy is not above the share of the
        commonest class, by McNemar’s exact test on the validation rows (two-sided, 5%), the ASR
        counts for nothing, nor does an accuracy drop where that holds for the clean run.
      </li>
      <li>
        <strong>What the trigger adds.</strong> ASR minus the same model’s rate of the target class
        on the same rows without the trigger. Where it is not above 0 by the same test, no effect of
        the trigger can be told. A verdict on ASR is given only where the paired difference of ASR
        and that of what the trigger adds both exclude zero by the margin, in the same direction.
      </li>
      <li>
        <strong>Trigger read.</strong> The share of triggered rows in which no token that differs
        from the original is cut off by max_length, and what the model reads does differ. Below 1,
        ASR counts rows whose trigger the model never read as attacks that failed.
      </li>
      <li>
        Pairs that count for nothing are left out of differences, intervals and verdicts, and are
        counted as excluded. Fisher information after training leaves out models of one class.
      </li>
    </ul>
  </details>
);
