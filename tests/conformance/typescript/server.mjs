// `vecload serve` on a directory that is gone at the end, and a client of the SDK whose calls are counted.

import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Pinecone } from '@pinecone-database/pinecone';

export const counts = { calls: 0, assertions: 0 };

// An object as it is, but for a count of the calls of its methods.
export const counted = (inner) =>
  new Proxy(inner, {
    get(target, name) {
      const member = target[name];
      if (typeof member !== 'function') return member;
      return (...args) => {
        counts.calls += 1;
        const result = member.apply(target, args);
        return name === 'index' || name === 'namespace' ? counted(result) : result;
      };
    },
  });

export class Server {
  static async start(...flags) {
    const folder = await mkdtemp(join(tmpdir(), 'vecload-'));
    const program = process.env.VECLOAD_BIN ?? fileURLToPath(new URL('../../../target/debug/vecload', import.meta.url));
    const child = spawn(program, ['serve', '--data-dir', join(folder, 'index'), ...flags], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = new Promise((resolve) => child.once('exit', resolve));
    const line = await new Promise((resolve, reject) => {
      createInterface({ input: child.stdout }).once('line', resolve);
      child.once('error', reject);
      child.once('exit', (code) => reject(new Error(`vecload serve ended before it was ready: exit ${code}`)));
    });
    return Object.assign(new Server(), { folder, child, ended, host: JSON.parse(line).host });
  }

  client(apiKey = 'local') {
    return counted(new Pinecone({ apiKey, controllerHostUrl: `http://${this.host}` }));
  }

  async stop() {
    this.child.kill('SIGTERM');
    const code = await this.ended;
    await rm(this.folder, { recursive: true });
    return code;
  }
}
