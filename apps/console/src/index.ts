/** The web console: the files of which it is made, for a server to serve. */
export { consoleFiles } from './files.ts'
