/** S3 on a real server keeps the contract, alone and with all wrappers. */
import { composeBackend } from '../../src/backends/compose.ts'
import { S3Backend } from '../../src/backends/s3/s3-backend.ts'
import { s3Server } from '../support/s3-server.ts'
import { backendSuite } from './contract-suite.ts'

const server = await s3Server()
const skip = typeof server === 'string' ? server : undefined
const settings = async () => {
  if (typeof server === 'string') throw new Error(server)
  return server.bucket()
}

backendSuite({ name: 's3', skip, open: async () => new S3Backend(await settings()) })
backendSuite({ name: 's3 composed', skip, open: async () => composeBackend(new S3Backend(await settings())) })
