// shop_stream.mjs PORT [ADDRESS]: the same shop as shop.mjs, written as a page that streams: it answers in pieces,
// chunked, with a pause as for a database between them.
import { createServer } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';

const piece = 'a thing to buy\n'.repeat(34);

async function answer(request, response) {
    let bytes = 0;
    for await (const part of request) bytes += part.length;
    response.setHeader('Cache-Control', 'no-store');
    if (request.url === '/health') {
        response.end('well\n');
    } else if (request.method === 'POST') {
        console.log('order ' + request.url.split('/').pop());
        await pause(5);
        response.end(`ordered with ${bytes} bytes\n`);
    } else {
        for (let i = 0; i < 4; i++) {
            response.write(piece);
            if (i % 2 === 1) await pause(1);
        }
        response.end();
    }
}

const server = createServer((request, response) => answer(request, response).catch(() => response.destroy()));

process.on('SIGTERM', () => {
    server.close(() => process.exit(0));
    server.closeIdleConnections();
});
const [port = 0, address = '127.0.0.1'] = process.argv.slice(2);
server.listen(Number(port), address, () => console.log('port ' + server.address().port));
