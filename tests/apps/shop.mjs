// shop.mjs PORT [ADDRESS]: a small shop on Node's http module as it is: keep-alive for 5 s, answers in one piece.
//
//   GET /health          "well"
//   GET /anything        a page of 2 KB that may not be stored
//   POST /anything/ID    takes the body as order ID, says so on stdout, and confirms it
//
// Each answer costs WORK_MS (of the environment, 0) milliseconds of the one thread that Node has for all.
// Says "port N" when it listens. At SIGTERM it takes no new connection, ends the requests under way, and ends.
import { createServer } from 'node:http';

const workMs = Number(process.env.WORK_MS ?? 0);
const page = 'a thing to buy\n'.repeat(136);

const server = createServer((request, response) => {
    let bytes = 0;
    request.on('data', (piece) => { bytes += piece.length; });
    request.on('end', () => {
        for (const since = performance.now(); performance.now() < since + workMs;);
        response.setHeader('Cache-Control', 'no-store');
        if (request.method === 'POST') {
            console.log('order ' + request.url.split('/').pop());
            setTimeout(() => response.end(`ordered with ${bytes} bytes\n`), 5);
        } else {
            response.end(request.url === '/health' ? 'well\n' : page);
        }
    });
});

process.on('SIGTERM', () => {
    server.close(() => process.exit(0));
    server.closeIdleConnections();
});
const [port = 0, address = '127.0.0.1'] = process.argv.slice(2);
server.listen(Number(port), address, () => console.log('port ' + server.address().port));
