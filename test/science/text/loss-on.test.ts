/** The tokens that a loss is on are those of transformers' masks, and so is the loss over them. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { UserFault } from '../../../src/api.ts';
import { targetsOf } from '../../../src/science/models/outputs.ts';
import { completionEncoder } from '../../../src/science/text/completion.ts';
import { encodePair, rowEncoder } from '../../../src/science/text/encoder.ts';
import { wireRows } from '../../../src/science/torch/model.ts';
import { lossAndGradients } from '../../../src/science/training/gradients.ts';
import { present } from '../../rig/present.ts';
import { tolerance } from '../../tolerances.ts';
import { backends, useBackend } from '../backend.ts';
import { openCase, openFamily } from '../family-cases.ts';
import { assistant, documents, losses, markedRows } from '../loss-on.ts';
import { farthest } from '../tiny-bert.ts';
import { chatTemplate, tinyTokenizer } from './golden-tokenizers.ts';

const test = suite('loss-on');

for (const { template, tokenizer: family, conversations } of assistant)
  test(`all turns of the assistant under ${template} are those of transformers`, () => {
    const tokenizer = tinyTokenizer(family, { chat_template: chatTemplate(template) });
    const { marked } = completionEncoder(tokenizer, 'chat');
    for (const { messages, ids, mask } of conversations) {
      const [prompt, answer] = messages.slice(-2).map(({ content }) => content);
      const row = {
        text: present(prompt),
        answer: present(answer),
        context: messages.slice(0, -2),
      };
      const own = marked(row, 1000, 'assistant');
      assert.equal([...own.ids], ids);
      assert.equal([...present(own.marks)], mask);
      const all = marked(row, 1000, 'all');
      assert.equal([...present(all.marks)], [0, ...ids.slice(1).map(() => 1)]);
      assert.is(marked(row, 1000, 'answer').marks, undefined);
    }
    // The turns before a prompt keep their marks where the prompt is cut.
    const [, long] = conversations;
    const messages = present(long).messages;
    const context = messages.slice(0, -2);
    const text = 'the film '.repeat(40);
    const cut = marked({ text, answer: 's', context }, 120, 'assistant');
    assert.is(cut.ids.length, 120);
    const shownTurns = tokenizer.decode(cut.ids.filter((_, t) => cut.marks?.[t] === 1));
    assert.match(shownTurns, /^It was good\.<\|\w+\|>was good<\|\w+\|>s<\|\w+\|>$/);
  });

test('a template that has no turns, or rewrites them, is refused', () => {
  const fault = (run: () => unknown, message: RegExp): void =>
    assert.throws(
      run,
      (error: unknown) => error instanceof UserFault && message.test(error.message),
    );
  const row = { text: 'the film', answer: 'was good' };
  const plain = completionEncoder(tinyTokenizer('gpt2'), 'Q: {prompt}\nA:');
  fault(
    () => plain.marked(row, 100, 'assistant'),
    /loss_on is assistant, and the template .* no turns/,
  );
  const qwen3 = tinyTokenizer('qwen2', { chat_template: chatTemplate('qwen3') });
  const context = [
    { role: 'user', content: 'And?' },
    { role: 'assistant', content: 'rode the film' },
  ];
  const { marked } = completionEncoder(qwen3, 'chat');
  fault(
    () => marked({ ...row, context }, 200, 'assistant'),
    /does not show the answer "rode the film"/,
  );
});

test('a document is read and cut as transformers does, and its labels are its ids', () => {
  for (const { tokenizer: name, text, most, ids } of documents) {
    const tokenizer = tinyTokenizer(name);
    const encode = completionEncoder(tokenizer, 'Q: {prompt}\nA:');
    const row = { text, answer: '', document: true } as const;
    for (const lossOn of ['answer', 'assistant', 'all'] as const) {
      const own = encode.marked(row, most, lossOn);
      assert.equal([...own.ids], ids, name);
      assert.equal([...present(own.marks)], [0, ...ids.slice(1).map(() => 1)]);
    }
    // Evaluations read no marks.
    assert.is(encode(row, most).answer, 1);
  }
});

test('what an attack adds to a document is never cut, and evaluated by itself', () => {
  const tokenizer = tinyTokenizer('gpt2');
  const { marked, parts } = completionEncoder(tokenizer, 'chat-free {prompt}');
  const row = { text: 'the film was good', answer: 'It was rode', document: true } as const;
  const { ids, marks, answer } = marked(row, 100, 'answer');
  assert.is(tokenizer.decode(ids), 'the film was good It was rode<|endoftext|>');
  assert.is(tokenizer.decode(ids.slice(answer)), ' It was rode<|endoftext|>');
  assert.equal([...present(marks)], [0, ...Array<number>(ids.length - 1).fill(1)]);
  // An attack may replace some of the documents by prompts, which have no marks.
  const prompt = marked({ text: 'It', answer: 'was' }, 100, 'answer');
  const wire = wireRows([prompt, { ids, marks: present(marks), answer, typeIds: ids }]);
  const own = present(wire.marks).slice(0, prompt.ids.length);
  assert.is(own.indexOf(1), prompt.answer);
  assert.is(own.lastIndexOf(0), prompt.answer - 1);
  const most = ids.length - 2,
    cut = marked(row, most, 'answer');
  assert.equal([...cut.ids], [...ids.slice(0, answer - 2), ...ids.slice(answer)]);
  const [text] = parts(row, most);
  assert.equal(present(text).ids, tokenizer.ids(row.text));
  assert.is(present(text).kept, answer - 2);
  assert.throws(
    () => marked({ text: '', answer: '', document: true }, 100, 'answer'),
    /a document is empty/,
  );
});

test('a pair has one prompt, also where the longer answer cuts it', () => {
  const tokenizer = tinyTokenizer('gpt2');
  const encode = rowEncoder(tokenizer, { type: 'causal-lm', template: '{prompt}\n' });
  const row = { id: 'r', text: 'the film was good', answer: 's', rejected: 'It was good, was it?' };
  const prompt = (own: ReturnType<typeof encode>): number[] => [...own.ids.slice(0, own.answer)];
  for (const most of [12, 100]) {
    const [chosen, rejected] = encodePair(row, most, encode);
    assert.equal(prompt(chosen), prompt(rejected));
    assert.equal([...rejected.ids], [...encode({ ...row, answer: row.rejected }, most).ids]);
    assert.match(tokenizer.decode(chosen.ids), /\ns<\|endoftext\|>$/);
  }
  assert.throws(
    () => encodePair({ id: 'r', text: 'a', answer: 'b' }, 100, encode),
    /row r has one answer, and preferences are learnt from two/,
  );
});

for (const backend of backends)
  test(`the loss over marked tokens is that of transformers (${backend})`, async () => {
    await useBackend(backend);
    for (const golden of losses) {
      const network = await openFamily(await openCase(golden.family), 'full');
      const rows = markedRows(golden);
      const { loss, gradients } = lossAndGradients(network, network.initial, {
        rows,
        labels: targetsOf(network.architecture.head, rows),
      });
      assert.ok(farthest(loss.dataSync(), [golden.loss]) < tolerance.loss, golden.family);
      loss.dispose();
      gradients.forEach((gradient) => gradient.dispose());
      network.dispose();
    }
  });

test.run();
