/** Judges of outputs in PyTorch's process. */
import type { TorchOperations } from '../../torch/protocol.ts';
import { torchWorker } from '../../torch/worker.ts';

type JudgeQuestion = TorchOperations['judge'][0];
/** What the judge says of texts. */
export type JudgeAnswer = TorchOperations['judge'][1];

/** Has a checkpoint judge texts, once its process is there. */
export const askJudge = async (
  request: JudgeQuestion,
  signal?: AbortSignal,
): Promise<JudgeAnswer> => (await torchWorker()).ask('judge', request, signal);
