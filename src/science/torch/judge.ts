/** Judges of outputs in PyTorch's process. */
import type { TorchOperations } from '../../torch/protocol.ts';
import { torchWorker } from '../../torch/worker.ts';

/** Has a checkpoint judge texts, once its process is there. */
export const askJudge = async (
  request: TorchOperations['judge'][0],
  signal?: AbortSignal,
): Promise<TorchOperations['judge'][1]> => (await torchWorker()).ask('judge', request, signal);
