/** The thread of `switchedProxy` (proxy.ts). */
import { parentPort, workerData } from 'node:worker_threads'
import { faultProxy } from '../support/fault-proxy.ts'
import { FAULTS, type FaultName } from './proxy.ts'

const { targetPort, chosen } = workerData as { targetPort: number; chosen: Int32Array }
const names = Object.keys(FAULTS) as FaultName[]
const proxy = await faultProxy(targetPort)
proxy.rule = request => FAULTS[names[Atomics.load(chosen, 0)]!](request)
parentPort!.postMessage(proxy.endpoint)
