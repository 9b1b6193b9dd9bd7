/**
 * Stands before a server and lets each direction pass so many milliseconds later, whatever the protocol, without slowing the flow.
 * A process of its own (the benchmark's main thread is busy): latency-proxy.ts PORT TARGET-PORT MS; says "ready" when it listens.
 * Must stay true: bytes keep their order; what is under way is bounded by the sockets' own buffers and the latency.
 */
import net from 'node:net'

const [port, targetPort, latencyMs] = process.argv.slice(2).map(Number)

/** Each piece leaves when its time has come. Half of the round trip each way. */
function delayed(from: net.Socket, to: net.Socket): void {
  from.on('data', chunk => {
    setTimeout(() => {
      if (to.destroyed) return
      if (!to.write(chunk)) {
        from.pause()
        to.once('drain', () => from.resume())
      }
    }, latencyMs! / 2)
  })
  from.on('end', () => setTimeout(() => to.end(), latencyMs! / 2))
  from.on('error', () => to.destroy())
  from.on('close', () => setTimeout(() => to.destroy(), latencyMs!))
}

net
  .createServer({ noDelay: true, allowHalfOpen: true }, client => {
    const server = net.connect({ host: '127.0.0.1', port: targetPort!, noDelay: true, allowHalfOpen: true })
    delayed(client, server)
    delayed(server, client)
  })
  .listen(port, '127.0.0.1', () => console.log('ready'))
