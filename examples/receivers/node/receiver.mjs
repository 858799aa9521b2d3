// Verifies each delivery, and runs a command with the image that was pushed.
//
//     npm install standardwebhooks
//     WEBHOOK_SECRET=whsec_... node receiver.mjs 8000 ./roll-out.sh
import { spawnSync } from 'node:child_process';
import { createServer } from 'node:http';
import { Webhook } from 'standardwebhooks';

const [port, command, ...args] = process.argv.slice(2);
const webhook = new Webhook(process.env.WEBHOOK_SECRET);
const done = new Set(); // In production: kept on disk, for as long as messages may be repeated.

function handle(headers, body) {
  let message;
  try {
    message = webhook.verify(body, headers);
  } catch {
    return 401;
  }
  // The same message may come again, with the same id.
  if (message.type !== 'image.push' || done.has(headers['webhook-id'])) return 204;
  const result = spawnSync(command, [...args, message.data.reference ?? ''], { stdio: 'inherit' });
  if (result.status !== 0) return 500; // It is sent again.
  done.add(headers['webhook-id']);
  return 204;
}

createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) if (chunks.push(chunk) > 64) return request.destroy();
  response.writeHead(handle(request.headers, Buffer.concat(chunks).toString('utf8'))).end();
}).listen(Number(port), '127.0.0.1');
