import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { lettersOf, mailText } from '../../plugins/datasets/spam-assassin/mail.ts';
import { UserFault } from '../../src/api.ts';

const test = suite('mail text');
const mail = (headers: string, body: string | Uint8Array): Promise<string> =>
  mailText(Buffer.concat([Buffer.from(`${headers}\n\n`), Buffer.from(body)]), 'a.txt');

test("a mail's text is its subject and body, without other headers", async () => {
  const text = await mail(
    'From: a@b.c\nTo: d@e.f\nX-Spam-Status: Yes, hits=15\nList-Id: <ilug.linux.ie>\nSubject: ' +
      'Re: New\n Sequences',
    'Hello,\n\n  there.\n',
  );
  assert.is(text, 'Re: New Sequences Hello, there.');
});

test("an HTML mail's text is what it shows", async () => {
  const html =
    '<html><head><title>t</title><style>p { color: red ' +
    '}</style><script>evil()</script></head><body><h1>Big <b>win</b>!</h1><img alt="pixel" ' +
    'src="http://x/y.gif">' +
    '<p>Click <a href="http://spam.example/?id=7">here</a> &amp; ' +
    'now&nbsp;!</p><table><tr><td>one</td><td>two</td></tr></table><!-- x --></body></html>';
  assert.is(
    await mail('Subject: Win\nContent-Type: text/html; charset=us-ascii', html),
    'Win Big win! Click here & now ! one two',
  );
  assert.is(
    await mail(
      'Subject: Win\nContent-Type: text/plain',
      '<HTML> <BODY>sent as <FONT size=2>plain</FONT> text</BODY></HTML>',
    ),
    'Win sent as plain text',
  );
});

test('the plain part of an alternative is preferred', async () => {
  const body =
    '--b\nContent-Type: text/plain\n\nplain words\n--b\nContent-Type: text/html\n\n<p>html ' +
    'words</p>\n--b--\n';
  assert.is(
    await mail(
      'Subject: Both\nMIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=b',
      body,
    ),
    'Both plain words',
  );
});

test('quoted-printable, base64, encoded words and Latin-1 are decoded', async () => {
  assert.is(
    await mail(
      'Subject: =?iso-8859-1?Q?Caf=E9?=\nContent-Type: text/plain; ' +
        'charset=utf-8\nContent-Transfer-Encoding: quoted-printable',
      'na=C3=AFve=\n ness',
    ),
    'Café naïve ness',
  );
  assert.is(
    await mail(
      'Subject: b\nContent-Type: text/plain\nContent-Transfer-Encoding: base64',
      Buffer.from('hidden words').toString('base64'),
    ),
    'b hidden words',
  );
  assert.is(
    await mail(
      'Subject: l\nContent-Type: text/plain; charset=iso-8859-1',
      Uint8Array.of(0x63, 0x61, 0x66, 0xe9),
    ),
    'l café',
  );
});

test('rulers are shortened, and control and undecodable characters left out', async () => {
  assert.is(
    await mail('Subject: s', 'a\n----------------\nb =====\u0007 c\u200bd $$$$$$'),
    's a --- b === c d $$$',
  );
  assert.is(await mail('Subject: ', ' \n-- \n'), '');
  assert.is(await mail('Content-Type: text/plain; charset=utf-8', Uint8Array.of(0xff, 0xfe)), '');
});

test('mails with the same letters have the same key', () => {
  assert.is(lettersOf('Mortgage rates: 6.25%!! '), lettersOf('mortgage RATES 371812'));
  assert.is.not(lettersOf('免費'), lettersOf('拾金'));
  assert.is.not(lettersOf('123'), lettersOf('456'));
});

test('a mail whose parts are nested too deep is a fault that names it', async () => {
  const part = 'Content-Type: multipart/mixed; boundary="b"\n\n--b\n';
  const nested = (depth: number): Promise<string> =>
    mailText(Buffer.from(`Subject: x\n${part.repeat(depth)}`), 'spam-1/7.txt').catch(
      (error: unknown) => {
        assert.instance(error, UserFault);
        return (error as UserFault).message;
      },
    );
  assert.is(await nested(20), 'x');
  assert.match(await nested(300), /^spam-1\/7\.txt cannot be parsed as a mail: /);
});

test.run();
