/** The page's document. It contains nothing about runs: its script asks for them with the token. */
export const document = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>dosimeter</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/page.css">
<script src="/page.js" defer></script>
</head>
<body>
<div id="page"><noscript><p class="wrap">This page needs JavaScript.</p></noscript></div>
</body>
</html>
`;
